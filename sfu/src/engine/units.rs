//! Units as types, so that a bitrate is never taken for a number of bytes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Bits per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Bitrate(u64);

impl Bitrate {
    /// Nothing at all.
    pub const ZERO: Self = Self(0);

    /// From bits per second.
    pub const fn bps(bits: u64) -> Self {
        Self(bits)
    }

    /// From thousands of bits per second.
    pub const fn kbps(kilobits: u64) -> Self {
        Self(kilobits.saturating_mul(1_000))
    }

    /// From millions of bits per second.
    pub const fn mbps(megabits: u64) -> Self {
        Self(megabits.saturating_mul(1_000_000))
    }

    /// In bits per second.
    pub const fn as_bps(self) -> u64 {
        self.0
    }

    /// A share of it, rounded down. `share` above 100 is taken as 100.
    pub const fn percent(self, share: u8) -> Self {
        let share = if share > 100 { 100 } else { share };
        Self((self.0 as u128 * share as u128 / 100) as u64)
    }

    /// What passes in that time.
    pub fn over(self, time: Duration) -> DataSize {
        // What a meeting has fits a word, and a wide division costs more than all the rest of sending a packet.
        let short = u64::try_from(time.as_micros()).ok();
        if let Some(product) = short.and_then(|micros| self.0.checked_mul(micros)) {
            return DataSize(product / 8_000_000);
        }
        DataSize(
            u64::try_from(u128::from(self.0).saturating_mul(time.as_micros()) / 8_000_000)
                .unwrap_or(u64::MAX),
        )
    }
}

impl std::ops::Add for Bitrate {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// Bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DataSize(u64);

impl DataSize {
    /// From bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// In bytes.
    pub const fn as_bytes(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitrate_over_a_time_is_a_size() {
        assert_eq!(
            Bitrate::kbps(800).over(Duration::from_millis(10)),
            DataSize::bytes(1_000)
        );
        assert_eq!(
            Bitrate::bps(u64::MAX).over(Duration::from_secs(u64::MAX)),
            DataSize::bytes(u64::MAX)
        );
    }

    #[test]
    fn a_share_never_exceeds_the_whole() {
        assert_eq!(Bitrate::mbps(4).percent(50), Bitrate::mbps(2));
        assert_eq!(Bitrate::bps(u64::MAX).percent(200), Bitrate::bps(u64::MAX));
    }
}
