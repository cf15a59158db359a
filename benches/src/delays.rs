//! Many durations as counts in buckets: every bucket is a sixteenth of a power of two wide, so that what is read from
//! it is true to about six per cent.

/// Sixteen buckets for each power of two, of 64.
const BUCKETS: usize = 64 * 16;

/// Durations in ns.
#[derive(Clone)]
pub struct Delays {
    buckets: Box<[u64; BUCKETS]>,
    count: u64,
    most: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Delays { buckets: Box::new([0; BUCKETS]), count: 0, most: 0 }
    }
}

impl std::fmt::Debug for Delays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} delays up to {} ns", self.count, self.most)
    }
}

impl Delays {
    /// Adds one.
    #[inline]
    pub fn add(&mut self, nanos: u64) {
        self.buckets[bucket_of(nanos)] += 1;
        self.count += 1;
        self.most = self.most.max(nanos);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Delays) {
        self.buckets.iter_mut().zip(other.buckets.iter()).for_each(|(one, other)| *one += other);
        self.count += other.count;
        self.most = self.most.max(other.most);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest.
    pub fn most(&self) -> u64 {
        self.most
    }

    /// What this part of them does not exceed; 0.99 for the 99th percentile.
    pub fn quantile(&self, part: f64) -> u64 {
        let wanted = (self.count as f64 * part).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted.max(1) {
                return end_of(bucket).min(self.most);
            }
        }
        self.most
    }
}

fn bucket_of(nanos: u64) -> usize {
    if nanos < 16 {
        return nanos as usize;
    }
    let power = 63 - nanos.leading_zeros();
    ((power as usize - 3) << 4) + ((nanos >> (power - 4)) & 15) as usize
}

/// The last number of a bucket.
fn end_of(bucket: usize) -> u64 {
    if bucket < 16 {
        return bucket as u64;
    }
    let (power, part) = ((bucket >> 4) as u32 + 3, (bucket & 15) as u64);
    (((16 + part + 1) as u128) << (power - 4)).saturating_sub(1).min(u128::from(u64::MAX)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_true_to_a_sixteenth() {
        for length in [10u64, 1000, 1_000_000] {
            let mut delays = Delays::default();
            (1..=length).for_each(|nanos| delays.add(nanos));
            for part in [0.5, 0.9, 0.99, 1.0] {
                let (found, exact) = (delays.quantile(part), (length as f64 * part).ceil() as u64);
                assert!(found >= exact && found <= exact + exact / 16, "{found} for {exact}");
            }
            assert_eq!(delays.most(), length);
        }
        for nanos in [0, 15, 16, 17, 31, 32, 1 << 40, u64::MAX] {
            let end = end_of(bucket_of(nanos));
            assert!(end >= nanos && (end == u64::MAX || bucket_of(end + 1) != bucket_of(nanos)), "{nanos}");
        }
    }
}
