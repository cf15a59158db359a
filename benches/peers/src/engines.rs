//! How each peer is started, fed and waited for; the same for all work.

pub mod by_hand;
pub mod renoir;
pub mod timely;
