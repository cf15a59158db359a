//! Tables ordered by time.
