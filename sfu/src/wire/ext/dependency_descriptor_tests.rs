//! Tests of the dependency descriptor, with a writer of its own.

use proptest::prelude::*;

use super::*;

/// Writes bit by bit.
#[derive(Default)]
struct Writer(Vec<bool>);

impl Writer {
    fn put(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    }

    fn below(&mut self, value: u32, n: u32) {
        let width = 32 - n.leading_zeros();
        let short = (1 << width) - n;
        if value < short {
            self.put(value, width - 1);
        } else {
            self.put(value + short, width);
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            let bits = bits.iter().enumerate();
            bits.fold(0, |byte, (at, &bit)| byte | u8::from(bit) << (7 - at))
        };
        self.0.chunks(8).map(byte).collect()
    }
}

fn letters(text: &str) -> Vec<u32> {
    text.bytes()
        .map(|letter| match letter {
            b'-' => 0,
            b'D' => 1,
            b'S' => 2,
            _ => 3,
        })
        .collect()
}

/// Three temporal layers, as browsers send them: layer of each template, its indications, references and chain distance.
const L1T3: [(u8, &str, &[u32], u32); 5] = [
    (0, "SSS", &[], 0),
    (0, "SSS", &[4], 4),
    (1, "-DS", &[2], 2),
    (2, "--D", &[1], 1),
    (2, "--D", &[1], 3),
];

fn structure(writer: &mut Writer, offset: u32) {
    writer.put(offset, 6);
    writer.put(2, 5); // three targets
    for pair in L1T3.windows(2) {
        writer.put(u32::from(pair[1].0 - pair[0].0), 2);
    }
    writer.put(3, 2);
    for template in L1T3 {
        letters(template.1).into_iter().for_each(|dti| writer.put(dti, 2));
    }
    for template in L1T3 {
        for reference in template.2 {
            writer.put(1, 1);
            writer.put(reference - 1, 4);
        }
        writer.put(0, 1);
    }
    writer.below(1, 4);
    (0..3).for_each(|_| writer.below(0, 1));
    L1T3.iter().for_each(|template| writer.put(template.3, 4));
    writer.put(1, 1);
    writer.put(1279, 16);
    writer.put(719, 16);
}

fn head(writer: &mut Writer, template: u32, number: u32) {
    writer.put(0b11, 2);
    writer.put(template, 6);
    writer.put(number, 16);
}

fn key() -> Vec<u8> {
    let mut writer = Writer::default();
    head(&mut writer, 62, 500);
    writer.put(0b10000, 5);
    structure(&mut writer, 62);
    writer.bytes()
}

#[test]
fn a_key_frame_brings_the_structure() {
    let (descriptor, structure) = read(&key(), None).expect("whole");
    let structure = structure.expect("in it");
    assert!(descriptor.starts_frame && descriptor.ends_frame);
    assert_eq!(
        (descriptor.frame_number, descriptor.temporal, descriptor.spatial),
        (500, 0, 0)
    );
    assert_eq!(
        (descriptor.references.distances(), descriptor.chains()),
        (&[][..], &[0][..])
    );
    assert_eq!(descriptor.active_targets, Some(0b111));
    assert_eq!(structure.sizes(), Some(&[(1280, 720)][..]));
    let targets: Vec<_> = structure
        .targets()
        .iter()
        .map(|t| (t.spatial, t.temporal, t.chain))
        .collect();
    assert_eq!(targets, [(0, 0, Some(0)), (0, 1, Some(0)), (0, 2, Some(0))]);
    assert_eq!((structure.target(0, 1), structure.target(1, 0)), (Some(1), None));
}

#[test]
fn short_descriptors_lean_on_it_and_their_ids_wrap() {
    let structure = read(&key(), None).and_then(|(_, s)| s).expect("in it");
    let mut writer = Writer::default();
    head(&mut writer, 0, 502); // the third template: 62 + 2
    let (descriptor, fresh) = read(&writer.bytes(), Some(&structure)).expect("whole");
    assert_eq!(
        (descriptor.temporal, descriptor.references.distances()),
        (1, &[2][..])
    );
    let indications = [0, 1, 2, 3].map(|target| descriptor.indications.get(target));
    use Indication::{Discardable, NotPresent, Switch};
    assert_eq!(indications, [NotPresent, Discardable, Switch, NotPresent]);
    assert!(fresh.is_none() && descriptor.active_targets.is_none());
    assert_eq!(read(&writer.bytes(), None), None);
    let mut unknown = Writer::default();
    head(&mut unknown, 10, 502);
    assert_eq!(read(&unknown.bytes(), Some(&structure)), None);
}

#[test]
fn what_differs_from_the_template_counts() {
    let structure = read(&key(), None).and_then(|(_, s)| s).expect("in it");
    let mut writer = Writer::default();
    head(&mut writer, 63, 504);
    writer.put(0b01111, 5);
    writer.put(0b011, 3);
    letters("SR-").into_iter().for_each(|dti| writer.put(dti, 2));
    for (size, distance) in [(1, 7), (2, 200), (3, 4_000)] {
        writer.put(size, 2);
        writer.put(distance - 1, 4 * size);
    }
    writer.put(0, 2);
    writer.put(77, 8);
    let (descriptor, _) = read(&writer.bytes(), Some(&structure)).expect("whole");
    assert_eq!(descriptor.active_targets, Some(0b011));
    assert_eq!(descriptor.references.distances(), [7, 200, 4_000]);
    assert_eq!(descriptor.chains(), [77]);
    assert_eq!(descriptor.indications.get(1), Indication::Required);
    for cut in 0..writer.bytes().len() {
        assert!(
            cut == 3 || read(&writer.bytes()[..cut], Some(&structure)).is_none(),
            "{cut}"
        );
    }
}

#[test]
fn what_is_written_anew_has_its_number_and_targets_and_all_the_rest() {
    let (_, structure) = read(&key(), None).expect("whole");
    let structure = structure.expect("has one");
    let mut custom = Writer::default();
    custom.put(0xC1_0007, 24);
    custom.put(0b01111, 5); // active targets, and its own of everything else
    custom.put(0b011, 3);
    custom.put(0b10_11_01, 6);
    for (size, distance) in [(1, 6), (3, 3_999)] {
        custom.put(size, 2);
        custom.put(distance, 4 * size);
    }
    custom.put(0, 2);
    custom.put(77, 8);
    for value in [key(), vec![0xC1, 0, 7], custom.bytes()] {
        let (before, fresh) = read(&value, Some(&structure)).expect("whole");
        let mut out = [0xAA; 255];
        let length = before.place.write(&value, &mut out).expect("has room");
        assert_eq!(length, before.place.length(&value));
        let (at, count) = (before.place.stands_at(), before.place.count());
        assert!(patch(&mut out[..length], 9, at, count, 0b101));
        let (after, fresh_after) = read(&out[..length], Some(&structure)).expect("whole");
        assert_eq!(fresh_after, fresh);
        assert_eq!((after.frame_number, after.active_targets), (9, Some(0b101)));
        let same = Descriptor {
            frame_number: before.frame_number,
            active_targets: before.active_targets,
            place: before.place,
            ..after
        };
        assert_eq!(same, before);
        assert!(before.place.write(&value, &mut out[..length - 1]).is_none());
    }
    assert!(!patch(&mut [1, 2], 9, 29, 3, 0) && !patch(&mut [0; 4], 9, 29, 4, 0));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(mut value in proptest::collection::vec(any::<u8>(), 0..200), with_structure: bool) {
        let known = read(&key(), None).and_then(|(_, s)| s);
        let _ = read(&value, known.as_ref());
        if with_structure && value.len() > 3 {
            value[3] |= 0x80;
        }
        if let Some((descriptor, _)) = read(&value, known.as_ref()) {
            let mut out = [0; 255];
            let length = descriptor.place.write(&value, &mut out).expect("has room");
            let (at, count) = (descriptor.place.stands_at(), descriptor.place.count());
            prop_assert!(patch(&mut out[..length], 9, at, count, 1));
            let (again, _) = read(&out[..length], known.as_ref()).expect("still one");
            prop_assert_eq!((again.frame_number, again.references), (9, descriptor.references));
        }
        if let Some((descriptor, Some(structure))) = read(&value, None) {
            prop_assert!(usize::from(structure.spatial_layers()) <= SPATIAL_MAX);
            prop_assert!(descriptor.chains().len() <= structure.targets().len());
            prop_assert!(structure.targets().iter().all(|t| t.chain.is_none_or(|c| usize::from(c) < descriptor.chains().len())));
        }
    }
}
