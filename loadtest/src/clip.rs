//! The clips that points play: pictures and speech, encoded once (`loadtest/clips/make.sh`) and built into the binary.

use std::sync::OnceLock;

use bytes::Bytes;

/// Pictures a second of every clip.
pub(crate) const FRAMES_PER_SECOND: u32 = 15;
/// RTP ticks (90 kHz) between two pictures.
#[cfg(test)]
pub(crate) const FRAME_TICKS: u32 = 90_000 / FRAMES_PER_SECOND;
/// RTP ticks (48 kHz) of one sound packet, 20 ms.
pub(crate) const SOUND_TICKS: u32 = 960;
/// Layers of the camera, lowest first, as their restriction ids in the offer.
pub(crate) const RIDS: [&str; 3] = ["q", "h", "f"];

/// All clips.
#[derive(Debug)]
pub(crate) struct Clips {
    /// One per layer, lowest first, all of the same number of frames.
    pub(crate) layers: [Vec<Bytes>; 3],
    /// Speech and, at its end, silence.
    pub(crate) speech: Vec<Sound>,
    /// Where the silence at the end begins.
    pub(crate) silence_from: usize,
}

/// One Opus packet.
#[derive(Debug, Clone)]
pub(crate) struct Sound {
    pub(crate) payload: Bytes,
    /// RFC 6464: 0 is the loudest, 127 silence.
    pub(crate) level: u8,
}

impl Clips {
    /// The clips in the binary.
    pub(crate) fn builtin() -> &'static Self {
        static CLIPS: OnceLock<Clips> = OnceLock::new();
        CLIPS.get_or_init(|| {
            let layer =
                |bytes: &'static [u8]| ivf_frames(bytes).expect("the committed IVF files are well-formed");
            let layers = [
                layer(include_bytes!("../clips/180p.ivf")),
                layer(include_bytes!("../clips/360p.ivf")),
                layer(include_bytes!("../clips/720p.ivf")),
            ];
            let packets = ogg_packets(include_bytes!("../clips/speech.ogg"))
                .expect("the committed Ogg file is well-formed");
            let levels = include_str!("../clips/speech.levels")
                .lines()
                .map(|line| line.parse().unwrap_or(127));
            // The first two packets of the stream are its headers (RFC 7845).
            let sounds = packets.into_iter().skip(2);
            let speech: Vec<Sound> = sounds
                .zip(levels)
                .map(|(payload, level)| Sound { payload, level })
                .collect();
            let loud = speech.iter().rposition(|sound| sound.level < 100);
            let silence_from = loud.map_or(0, |last| last + 1);
            Self {
                layers,
                speech,
                silence_from,
            }
        })
    }

    /// How many frames a loop has.
    pub(crate) fn frames(&self) -> usize {
        self.layers[0].len()
    }
}

/// Whether a VP8 frame is a key frame (RFC 7741 section 4.3: bit P of the payload header).
pub(crate) fn is_key_frame(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 == 0)
}

/// The frames of an IVF file; nothing if it is not one.
fn ivf_frames(file: &'static [u8]) -> Option<Vec<Bytes>> {
    let mut rest = file.strip_prefix(b"DKIF")?.get(28..)?;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let size = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        frames.push(Bytes::from_static(rest.get(12..12 + size)?));
        rest = &rest[12 + size..];
    }
    Some(frames)
}

/// The packets of an Ogg file of one stream (RFC 3533); nothing if it is not one.
fn ogg_packets(file: &[u8]) -> Option<Vec<Bytes>> {
    let mut packets = Vec::new();
    let mut packet = Vec::new();
    let mut rest = file;
    while !rest.is_empty() {
        let segments = *rest.strip_prefix(b"OggS")?.get(22)? as usize;
        let lacing = rest.get(27..27 + segments)?;
        let mut body = rest.get(27 + segments..)?;
        for &length in lacing {
            packet.extend_from_slice(body.get(..length as usize)?);
            body = &body[length as usize..];
            if length < 255 {
                packets.push(Bytes::from(std::mem::take(&mut packet)));
            }
        }
        rest = body;
    }
    Some(packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_begin_with_their_only_key_frame() {
        let clips = Clips::builtin();
        for layer in &clips.layers {
            assert_eq!(layer.len(), 60);
            assert!(is_key_frame(&layer[0]));
            assert!(layer[1..].iter().all(|frame| !is_key_frame(frame)));
        }
    }

    #[test]
    fn speech_has_a_voice_and_a_silent_end() {
        let clips = Clips::builtin();
        assert!(clips.speech.len() >= 395, "{}", clips.speech.len());
        assert!(clips.speech.iter().filter(|sound| sound.level < 30).count() > 100);
        assert!(
            (40..100).contains(&(clips.speech.len() - clips.silence_from)),
            "{}",
            clips.silence_from
        );
        assert!(
            clips
                .speech
                .iter()
                .all(|sound| sound.payload.len() == 60 && sound.payload[0] & 3 == 0)
        );
    }

    #[test]
    fn damaged_files_are_refused() {
        let file: &'static [u8] = include_bytes!("../clips/180p.ivf");
        assert!(ivf_frames(&file[..file.len() - 1]).is_none());
        assert!(ogg_packets(b"OggX").is_none());
    }
}
