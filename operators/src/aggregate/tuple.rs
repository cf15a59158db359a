//! Tuples of aggregates are aggregates: each sees every record.

use highwater_state::Timestamp;

use crate::aggregate::Aggregate;

/// One implementation per length, which Rust cannot say once for all.
macro_rules! tuples {
    ($($($name:ident $index:tt),+;)*) => {$(
        impl<T, $($name: Aggregate<T>),+> Aggregate<T> for ($($name,)+) {
            type Acc = ($($name::Acc,)+);
            type Out = ($($name::Out,)+);
            fn start(&self) -> Self::Acc {
                ($(self.$index.start(),)+)
            }
            fn add(&self, kept: &mut Self::Acc, record: &T, time: Timestamp) {
                $(self.$index.add(&mut kept.$index, record, time);)+
            }
            fn merge(&self, kept: &mut Self::Acc, later: Self::Acc) {
                $(self.$index.merge(&mut kept.$index, later.$index);)+
            }
            fn finish(&self, kept: &Self::Acc) -> Self::Out {
                ($(self.$index.finish(&kept.$index),)+)
            }
            fn is_bounded(&self) -> bool {
                $(self.$index.is_bounded())&&+
            }
            fn check(&self) -> Result<(), String> {
                $(self.$index.check()?;)+
                Ok(())
            }
        }
    )*};
}

tuples! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
    A 0, B 1, C 2, D 3, E 4;
    A 0, B 1, C 2, D 3, E 4, F 5;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6;
    A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7;
}
