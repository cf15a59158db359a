//! The state directory: rows that are synced, and writes after them that a power cut takes back.
//!
//! A kill of the process loses nothing that was written; a power cut loses the last writes that no sync has followed,
//! each as a whole and none without those after it. That is what RocksDB promises with its log and point-in-time
//! recovery. Bytes do not rot here.

use highwater_operators::error::Cause;
use highwater_state::backend::memory::MemoryBackend;
use highwater_state::backend::{Backend, Visit};
use highwater_state::delta::Family;
use highwater_state::error::{Result, StateError};
use highwater_state::{Delta, redo};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::fault::{Call, Fault};
use super::outside::{Outside, Process, hash_of};
use super::planted;

/// What is on the disk.
#[derive(Default)]
pub(super) struct Disk {
    /// What a power cut leaves.
    synced: MemoryBackend,
    /// What is read.
    written: Arc<MemoryBackend>,
    /// The writes between the two.
    unsynced: Vec<Delta>,
}

impl Disk {
    pub(super) fn write(&mut self, delta: &Delta, synced: bool) -> Result<()> {
        self.written.commit(delta)?;
        self.unsynced.push(delta.clone());
        if synced {
            for delta in self.unsynced.drain(..) {
                self.synced.commit(&delta)?;
            }
        }
        Ok(())
    }

    /// How many writes a power cut can take back.
    pub(super) fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// The first `kept` writes that were not synced stay; the others are as if they had never been.
    pub(super) fn power_cut(&mut self, kept: usize) -> Result<()> {
        for delta in std::mem::take(&mut self.unsynced).into_iter().take(kept) {
            self.synced.commit(&delta)?;
        }
        let (rows, whole) = (MemoryBackend::new(), [u8::MAX; 64]);
        for family in Family::ALL {
            let mut copy = Delta::default();
            self.synced.scan(family, &[], &whole, &mut |key, value| {
                copy.put(family, key, value);
                ControlFlow::Continue(())
            })?;
            rows.commit(&copy)?;
        }
        self.written = Arc::new(rows);
        Ok(())
    }

    /// What is read now.
    pub(super) fn rows(&self) -> Arc<MemoryBackend> {
        Arc::clone(&self.written)
    }
}

/// The disk as one process sees it.
pub(super) struct OpenDisk {
    pub(super) process: Process,
}

impl OpenDisk {
    /// Reads; a process that is dead, or has lost the directory, reads nothing.
    fn rows(&self) -> Result<Arc<MemoryBackend>> {
        let mut outside = self.process.lock();
        if outside.is_dead(self.process.number) {
            return Err(failed("reading", "the process is dead"));
        }
        if outside.owner != self.process.number {
            outside.hurt(self.process.number);
            return Err(failed("reading", "another process has the state directory"));
        }
        Ok(outside.disk.rows())
    }

    fn write(&self, delta: &Delta, synced: bool) -> Result<()> {
        let bug = self.process.lock().bug();
        if let Some(writes) = planted::writes(bug, delta, synced) {
            return writes.iter().try_for_each(|(delta, synced)| self.write_once(delta, *synced));
        }
        self.write_once(delta, synced)
    }

    fn write_once(&self, delta: &Delta, synced: bool) -> Result<()> {
        let call = if synced { Call::Write } else { Call::Apply };
        let written = self.process.call_at_home(call, |outside| {
            let mut bytes = Vec::new();
            redo::encode(delta, &mut bytes);
            outside.trace.event(format_args!("{:016x} is written", hash_of(&bytes)));
            outside.disk.write(delta, synced).map_err(Cause::from)
        });
        written.map_err(|cause| failed("writing", &cause.to_string()))
    }
}

fn failed(doing: &'static str, reason: &str) -> StateError {
    StateError::Store { doing, reason: reason.to_owned() }
}

impl Backend for OpenDisk {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.rows()?.get(family, key)
    }

    fn get_many(&self, family: Family, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.rows()?.get_many(family, keys)
    }

    fn scan(&self, family: Family, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.rows()?.scan(family, from, to, visit)
    }

    fn commit(&self, delta: &Delta) -> Result<()> {
        self.write(delta, true)
    }

    fn apply(&self, delta: &Delta) -> Result<()> {
        self.write(delta, false)
    }
}

/// The power fails: what was not synced is there up to some write.
pub(super) fn cut_power(outside: &mut Outside) {
    let unsynced = outside.disk.unsynced();
    let kept = outside.dice.roll(unsynced + 1);
    outside.disk.power_cut(kept).expect("rows in memory are written");
    if kept < unsynced {
        outside.coverage.count(Fault::WritesLost);
        outside.trace.event(format_args!("a power cut takes back {} of {unsynced} writes", unsynced - kept));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &[u8]) -> Delta {
        let mut delta = Delta::default();
        delta.put(Family::Values, b"k", value);
        delta
    }

    fn value(disk: &Disk) -> Option<Vec<u8>> {
        disk.rows().get(Family::Values, b"k").expect("reads")
    }

    #[test]
    fn a_power_cut_takes_back_what_no_sync_has_followed_from_the_end() {
        let mut disk = Disk::default();
        disk.write(&put(b"1"), true).expect("writes");
        disk.write(&put(b"2"), false).expect("writes");
        disk.write(&put(b"3"), false).expect("writes");
        assert_eq!((value(&disk), disk.unsynced()), (Some(b"3".to_vec()), 2));
        disk.power_cut(1).expect("cuts");
        assert_eq!((value(&disk), disk.unsynced()), (Some(b"2".to_vec()), 0));
        disk.write(&put(b"4"), false).expect("writes");
        disk.write(&put(b"5"), true).expect("writes");
        disk.power_cut(0).expect("cuts");
        assert_eq!(value(&disk), Some(b"5".to_vec()), "a sync keeps what was written before it, too");
    }
}
