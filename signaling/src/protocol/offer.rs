//! An offer as a client sends it.

use serde::{Deserialize, Serialize};
use sfu::control::OFFER_BYTES_MAX;

use super::Refused;

/// SDP of 1 to [`OFFER_BYTES_MAX`] bytes, not yet looked at. Its text (addresses, passwords) never shows in debug output.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Offer(String);

impl TryFrom<String> for Offer {
    type Error = Refused;
    fn try_from(text: String) -> Result<Self, Refused> {
        if (1..=OFFER_BYTES_MAX).contains(&text.len()) {
            Ok(Self(text))
        } else {
            Err(Refused)
        }
    }
}

impl Offer {
    /// Bytes of it; never 0.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<Offer> for String {
    fn from(offer: Offer) -> Self {
        offer.0
    }
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Offer({} bytes)", self.0.len())
    }
}
