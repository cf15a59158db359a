//! An order in time, and an operator with timers, on a stream whose records have no event time.
//~ this stream has no event time, and a window, a timer or an order in time needs it
//~ needs `.event_time(..)` earlier in the chain, before `key_by`
use highwater::prelude::*;

struct Pass;

impl KeyedOperator<char, char> for Pass {
    type Out = char;

    fn on_record(&mut self, record: char, context: &mut Context<'_, char, char>) -> Result<(), Cause> {
        context.emit(record);
        Ok(())
    }
}

fn main() {
    let topology = Topology::new("letters");
    let letters = topology.source("letters", Memory::source(['a', 'b'])).key_by(|letter| *letter);
    let (sorted, late) = letters.sorted("by-time");
    sorted.values().sink("sorted", Memory::sink());
    late.sink("late", Memory::sink());
    let letters = topology.source("more", Memory::source(['a', 'b'])).key_by(|letter| *letter);
    letters.process("pass", |_| Pass).values().sink("passed", Memory::sink());
}
