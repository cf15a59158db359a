//! Typed write-back tables.
