//! `fused`: a chain of iterator adaptors as one operator, for the path that must be as fast as a loop.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use crate::batch::Batch;
use crate::data::{Clock, Data};
use crate::operator::{Fault, Operator};
use crate::outbox::Outbox;
use crate::stream::{Stream, here};

impl<T: 'static, C: Clock> Stream<T, C> {
    /// Runs a chain of iterator adaptors over each batch, compiled as one loop.
    ///
    /// What the chain gives has the event time of the record that it took last, so adaptors that look ahead
    /// (`peekable`, `chunks`) shift times; `filter`, `map`, `filter_map` and `flat_map` do not. A chain sees one
    /// batch at a time and keeps nothing from one to the next.
    ///
    /// ```
    /// # use highwater_operators::testkit::output_of;
    /// let out = output_of([1, 2, 3, 4], |numbers| {
    ///     numbers.fused(|records| records.filter(|number| number % 2 == 0).map(|number| number + 1))
    /// });
    /// assert_eq!(out, [3, 5]);
    /// ```
    #[track_caller]
    pub fn fused<U, I>(self, chain: impl Fn(FusedRecords<T>) -> I + Send + Sync + 'static) -> Stream<U, C>
    where
        U: Data,
        I: Iterator<Item = U>,
    {
        let chain = Arc::new(chain);
        Stream::at(self.wire.then::<Batch<T>, Outbox<Batch<U>>>(here("fused", None), move |_| {
            Ok(Box::new(Fused { chain: Arc::clone(&chain) }))
        }))
    }
}

/// The records of one batch, as [`fused`](Stream::fused) gives them to its chain.
pub struct FusedRecords<T> {
    values: std::vec::IntoIter<T>,
    taken: Option<Rc<Cell<usize>>>,
}

impl<T> Iterator for FusedRecords<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let value = self.values.next()?;
        if let Some(taken) = &self.taken {
            taken.set(taken.get() + 1);
        }
        Some(value)
    }

    #[inline]
    fn fold<B, F: FnMut(B, T) -> B>(self, init: B, mut f: F) -> B {
        match self.taken {
            None => self.values.fold(init, f),
            Some(taken) => self.values.fold(init, |folded, value| {
                taken.set(taken.get() + 1);
                f(folded, value)
            }),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.values.size_hint()
    }
}

struct Fused<F> {
    chain: Arc<F>,
}

impl<T: 'static, U: 'static, I, F> Operator<Batch<T>, Outbox<Batch<U>>> for Fused<F>
where
    I: Iterator<Item = U>,
    F: Fn(FusedRecords<T>) -> I,
{
    fn on_batch(&mut self, batch: &mut Batch<T>, out: &mut Outbox<Batch<U>>) -> Result<(), Fault> {
        let values = std::mem::take(&mut batch.values).into_iter();
        if batch.times.is_empty() {
            let mut made = Vec::with_capacity(values.len());
            // `for_each`, and not a loop: it lets the chain run as one `fold` over the batch.
            (self.chain)(FusedRecords { values, taken: None }).for_each(|value| made.push(value));
            out.send(Batch { values: made, times: Vec::new(), split: batch.split });
            return Ok(());
        }
        let times = std::mem::take(&mut batch.times);
        let taken = Rc::new(Cell::new(0));
        let records = FusedRecords { values, taken: Some(Rc::clone(&taken)) };
        let (mut values_made, mut times_made) =
            (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
        (self.chain)(records).for_each(|value| {
            values_made.push(value);
            times_made.push(times[taken.get().max(1) - 1]);
        });
        let made = Batch { values: values_made, times: times_made, split: batch.split };
        out.send(made);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::{Harness, at};

    #[test]
    fn what_the_chain_gives_has_the_time_of_what_it_took() {
        let mut harness = Harness::new(|stream| {
            stream.fused(|records| records.filter(|n: &i64| *n > 1).flat_map(|n| vec![n; 2]).map(|n| n * 10))
        });
        (1..=3).for_each(|number| harness.record(number, at(number)));
        assert_eq!(harness.take(), [(20, at(2)), (20, at(2)), (30, at(3)), (30, at(3))]);
    }
}
