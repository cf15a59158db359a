//! The prepared delta of an epoch that is not decided: read back as it was written, or refused.

use std::ops::ControlFlow;

use highwater::state::backend::memory::MemoryBackend;
use highwater::state::delta::Family;
use highwater::state::{Backend, Delta, Epoch, redo};

/// Rows as they are kept on disk.
fn rows(backend: &MemoryBackend) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    backend.scan(Family::Redo, &[], &[0xff; 16], &mut visit).expect("a backend in memory does not fail");
    rows
}

/// The changes as they are kept.
fn encoded(delta: &Delta) -> Vec<u8> {
    let mut bytes = Vec::new();
    redo::encode(delta, &mut bytes);
    bytes
}

/// The record itself; and its rows, of which one becomes what the bytes say.
pub fn redo(bytes: &[u8]) {
    let (row, bytes) = super::first(bytes);
    let (change, bytes) = super::part(bytes);
    let delta = redo::decode(bytes);
    if let Ok(delta) = &delta {
        assert_eq!(encoded(delta), bytes, "what was read is not what was written");
    }
    let delta = delta.unwrap_or_default();
    let backend = MemoryBackend::new();
    redo::prepare(&backend, Epoch(7), 1, &delta).expect("a backend in memory does not fail");
    let kept = rows(&backend);
    let (key, value) = &kept[usize::from(row) % kept.len()];
    let mut damage = Delta::default();
    match change {
        [] => damage.delete(Family::Redo, key),
        _ if row < 128 => damage.put(Family::Redo, key, change),
        _ => {
            let mut value = value.clone();
            let places = value.len().max(1);
            for place in change.chunks_exact(2) {
                value.get_mut(usize::from(place[0]) % places).into_iter().for_each(|byte| *byte ^= place[1]);
            }
            damage.put(Family::Redo, key, &value);
        }
    }
    backend.commit(&damage).expect("a backend in memory does not fail");
    let Ok(Some(found)) = redo::read(&backend) else { return };
    assert_eq!(encoded(&found.delta), encoded(&delta), "a damaged record was read as good");
    let mut gone = Delta::default();
    redo::forget(found.pieces(), &mut gone);
    backend.commit(&gone).expect("a backend in memory does not fail");
    assert!(backend.is_empty(Family::Redo), "something of it stays");
}
