//! The watermark of an operator that judges lateness.
//!
//! Invariant: it is the same after a restart, so that a record that was late before is late again. At a barrier
//! all workers have the same watermark at the same operator, because each sends its watermarks to every worker
//! before the barrier; so one row serves them all, for any number of workers.

use std::sync::Arc;

use highwater_state::delta::Family;
use highwater_state::error::Result;
use highwater_state::{Backend, Delta, Timestamp, layout, persist};

use crate::opening::NodeOpening;

/// A watermark that is kept with the epoch.
pub(crate) struct KeptWatermark {
    key: Vec<u8>,
    now: Timestamp,
    frozen: Timestamp,
}

impl KeptWatermark {
    pub(crate) fn open(opening: &NodeOpening<'_>) -> Result<Self> {
        Self::open_as(format!("operator/{}", opening.name()), opening)
    }

    /// The watermark of one of two inputs, which has a row of its own.
    pub(crate) fn open_side(side: &str, opening: &NodeOpening<'_>) -> Result<Self> {
        Self::open_as(format!("operator/{}/{side}", opening.name()), opening)
    }

    fn open_as(name: String, opening: &NodeOpening<'_>) -> Result<Self> {
        let key = layout::watermark_key(&name);
        let now = opening.meta(&key)?.unwrap_or(Timestamp::MIN);
        Ok(KeptWatermark { key, now, frozen: now })
    }

    pub(crate) fn get(&self) -> Timestamp {
        self.now
    }

    /// The watermark never falls (HW-3), also where the input's begins anew after a restart.
    pub(crate) fn rise(&mut self, watermark: Timestamp) {
        self.now = self.now.max(watermark);
    }

    pub(crate) fn freeze(&mut self, delta: &mut Delta) -> Result<()> {
        if self.now != self.frozen {
            let mut bytes = Vec::new();
            persist::encode("watermark", &self.now, &mut bytes)?;
            delta.put(Family::Meta, &self.key, &bytes);
            self.frozen = self.now;
        }
        Ok(())
    }
}

/// The watermark that another operator with one input keeps, as of the last epoch that was applied: for whoever stands
/// before it and must know what is late there.
pub(crate) struct WatermarkOf {
    name: String,
    backend: Arc<dyn Backend>,
}

impl WatermarkOf {
    pub(crate) fn new(operator: &str, backend: &Arc<dyn Backend>) -> Self {
        WatermarkOf { name: format!("operator/{operator}"), backend: Arc::clone(backend) }
    }

    pub(crate) fn read(&self) -> Result<Timestamp> {
        let bytes = self.backend.get(Family::Meta, &layout::watermark_key(&self.name))?;
        let kept = bytes.map(|bytes| persist::decode(&self.name, &bytes)).transpose()?;
        Ok(kept.unwrap_or(Timestamp::MIN))
    }
}
