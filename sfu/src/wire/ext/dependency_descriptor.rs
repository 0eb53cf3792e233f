//! Dependency descriptor
//! (`https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`, AV1 RTP specification A.8).
//!
//! A sender describes its stream once, with a key frame, as templates ([`Structure`]); each packet names a template and what
//! differs from it ([`Descriptor`]). Decode targets are the layers a receiver may choose, chains the frames it must not miss.

use crate::wire::{
    be,
    bits::{self, Bits},
};

/// Decode targets that a structure may have (five bits).
pub const TARGETS_MAX: usize = 32;
/// Templates that it may have (six bits).
pub const TEMPLATES_MAX: usize = 64;
/// Frames that a frame may lean on. No encoder has more than seven references; more is refused.
pub const REFERENCES_MAX: usize = 8;
/// Spatial layers whose size is kept; more are refused.
pub const SPATIAL_MAX: usize = 4;

/// What a frame is to a decode target (A.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indication {
    /// Not of it.
    NotPresent,
    /// Of it, and nothing leans on it.
    Discardable,
    /// Of it, and a receiver can go over to it here.
    Switch,
    /// Of it, and others lean on it.
    Required,
}

/// What a frame is to each decode target, two bits each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Indications(u64);

impl Indications {
    /// For that target; one that is not there counts as not present.
    pub fn get(self, target: usize) -> Indication {
        let bits = if target < TARGETS_MAX {
            self.0 >> (2 * target) & 3
        } else {
            0
        };
        match bits {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    fn read(bits: &mut Bits<'_>, targets: u8) -> Option<Self> {
        let mut all = 0;
        for target in 0..targets {
            all |= u64::from(bits.read(2)?) << (2 * target);
        }
        Some(Self(all))
    }
}

/// What a frame leans on: distances of frame numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct References {
    distances: [u16; REFERENCES_MAX],
    count: u8,
}

impl References {
    /// How far behind the frame each of them is.
    pub fn distances(&self) -> &[u16] {
        self.distances.get(..usize::from(self.count)).unwrap_or_default()
    }

    fn push(&mut self, distance: u32) -> Option<()> {
        *self.distances.get_mut(usize::from(self.count))? = u16::try_from(distance).ok()?;
        self.count += 1;
        Some(())
    }
}

/// Distance to the last frame of each chain.
type Chains = [u8; TARGETS_MAX];

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Template {
    spatial: u8,
    temporal: u8,
    indications: Indications,
    references: References,
    chains: Chains,
}

/// A decode target: the highest layers in it, and the chain that protects it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target {
    /// Highest spatial layer.
    pub spatial: u8,
    /// Highest temporal layer.
    pub temporal: u8,
    /// Its chain, if there are chains.
    pub chain: Option<u8>,
}

/// What a stream is made of, valid until the next one comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    offset: u8,
    count: u8,
    chains: u8,
    targets: [Target; TARGETS_MAX],
    target_count: u8,
    templates: [Template; TEMPLATES_MAX],
    template_count: u8,
    sizes: Option<[(u16, u16); SPATIAL_MAX]>,
}

/// What a packet says of its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// First packet of the frame.
    pub starts_frame: bool,
    /// Last packet of the frame.
    pub ends_frame: bool,
    /// Counts frames of all layers.
    pub frame_number: u16,
    /// Spatial layer.
    pub spatial: u8,
    /// Temporal layer.
    pub temporal: u8,
    /// What it is to the decode targets.
    pub indications: Indications,
    /// What it leans on.
    pub references: References,
    /// A bit for each decode target that the sender sends, if the packet says.
    pub active_targets: Option<u32>,
    /// Where it says so, or would.
    pub place: Place,
    chains: Chains,
    chain_count: u8,
}

/// Where a descriptor names the active decode targets, or would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The first bit.
    bit: u16,
    /// It does.
    is_there: bool,
    /// Decode targets, a bit each.
    count: u8,
}

impl Descriptor {
    /// Distance from this frame to the last one of each chain.
    pub fn chains(&self) -> &[u8] {
        self.chains
            .get(..usize::from(self.chain_count))
            .unwrap_or_default()
    }
}

/// Flags of a descriptor of more than three bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    structure: bool,
    active_targets: bool,
    indications: bool,
    references: bool,
    chains: bool,
}

/// Reads a descriptor. `known` is the structure that came last in the stream; a new one in the packet is returned and counts
/// for the packet itself. `None` if it is cut off, names a template that is not known, or has more of anything than is kept.
pub fn read(value: &[u8], known: Option<&Structure>) -> Option<(Descriptor, Option<Structure>)> {
    let first = be::u8(value, 0)?;
    let frame_number = be::u16(value, 1)?;
    let mut bits = Bits::new(value.get(3..)?);
    let mut flags = Flags::default();
    if value.len() > 3 {
        flags = Flags {
            structure: bits.flag()?,
            active_targets: bits.flag()?,
            indications: bits.flag()?,
            references: bits.flag()?,
            chains: bits.flag()?,
        };
    }
    let fresh = if flags.structure {
        Some(Structure::read(&mut bits)?)
    } else {
        None
    };
    let structure = fresh.as_ref().or(known)?;
    let place = Place {
        bit: 24 + u16::try_from(bits.position()).ok()?,
        is_there: flags.active_targets,
        count: structure.target_count,
    };
    let active_targets = match (flags.active_targets, flags.structure) {
        (true, _) => Some(bits.read(structure.target_count.into())?),
        (false, true) => Some(u32::MAX >> (32 - structure.target_count)),
        (false, false) => None,
    };
    let index = (first & 0x3F).wrapping_sub(structure.offset) & 0x3F;
    let template = structure.templates().get(usize::from(index))?;
    let mut descriptor = Descriptor {
        starts_frame: first & 0x80 != 0,
        ends_frame: first & 0x40 != 0,
        frame_number,
        spatial: template.spatial,
        temporal: template.temporal,
        indications: template.indications,
        references: template.references,
        active_targets,
        place,
        chains: template.chains,
        chain_count: structure.chains,
    };
    if flags.indications {
        descriptor.indications = Indications::read(&mut bits, structure.target_count)?;
    }
    if flags.references {
        descriptor.references = read_references(&mut bits)?;
    }
    if flags.chains {
        for distance in descriptor.chains.iter_mut().take(structure.chains.into()) {
            *distance = bits.read(8)? as u8;
        }
    }
    Some((descriptor, fresh))
}

/// A.8.2 frame_fdiffs: a size in half bytes before each, 0 at the end.
fn read_references(bits: &mut Bits<'_>) -> Option<References> {
    let mut references = References::default();
    loop {
        match bits.read(2)? {
            0 => return Some(references),
            size => references.push(bits.read(4 * size)? + 1)?,
        }
    }
}

/// First bit behind the flags.
const FLAGS_END: usize = 29;
/// The flag that active decode targets follow (A.8.2 active_decode_targets_present_flag).
const TARGETS_FLAG: usize = 25;

impl Place {
    /// Decode targets.
    pub fn count(self) -> u8 {
        self.count
    }

    /// Where the targets stand once [`Self::write`] made place for them.
    pub fn stands_at(self) -> u16 {
        self.bit.max(FLAGS_END as u16)
    }

    /// Bytes of a descriptor with the targets in it.
    pub fn length(self, value: &[u8]) -> usize {
        self.bits(value).div_ceil(8)
    }

    fn rest(self) -> usize {
        let targets = if self.is_there { self.count.into() } else { 0 };
        usize::from(self.bit) + targets
    }

    fn bits(self, value: &[u8]) -> usize {
        let rest = (8 * value.len()).saturating_sub(self.rest());
        usize::from(self.stands_at()) + usize::from(self.count) + rest
    }

    /// Writes the descriptor that it was read from with place for the active targets, which are left at none, and returns its
    /// length. None if `out` is too short.
    pub fn write(self, value: &[u8], out: &mut [u8]) -> Option<usize> {
        let length = self.length(value);
        let out = out.get_mut(..length)?;
        out.fill(0);
        copy(value, 0, out, 0, usize::from(self.bit))?;
        bits::write(out, TARGETS_FLAG, 1, 1);
        let from = self.rest();
        let to = usize::from(self.stands_at()) + usize::from(self.count);
        copy(value, from, out, to, (8 * value.len()).saturating_sub(from))?;
        Some(length)
    }
}

fn copy(value: &[u8], from: usize, out: &mut [u8], to: usize, count: usize) -> Option<()> {
    for bit in 0..count {
        let source = value.get((from + bit) / 8)? >> (7 - (from + bit) % 8) & 1;
        bits::write(out, to + bit, 1, source.into()).then_some(())?;
    }
    Some(())
}

/// Writes another frame number, and the active ones of `count` targets that stand at bit `at`. What frames lean on are distances:
/// they stay true. False if it is too short; it may have been written to then.
pub fn patch(value: &mut [u8], frame_number: u16, at: u16, count: u8, targets: u32) -> bool {
    bits::write(value, 8, 16, frame_number.into())
        && count <= 32
        && bits::write(value, at.into(), count.into(), targets)
}

impl Structure {
    /// The decode targets, the highest layers mostly first.
    pub fn targets(&self) -> &[Target] {
        self.targets
            .get(..usize::from(self.target_count))
            .unwrap_or_default()
    }

    /// The decode target with just those highest layers.
    pub fn target(&self, spatial: u8, temporal: u8) -> Option<usize> {
        self.targets()
            .iter()
            .position(|target| (target.spatial, target.temporal) == (spatial, temporal))
    }

    /// Spatial layers, at least 1.
    pub fn spatial_layers(&self) -> u8 {
        self.count
    }

    /// Width and height of each spatial layer, if told.
    pub fn sizes(&self) -> Option<&[(u16, u16)]> {
        self.sizes.as_ref()?.get(..usize::from(self.count))
    }

    fn templates(&self) -> &[Template] {
        self.templates
            .get(..usize::from(self.template_count))
            .unwrap_or_default()
    }

    /// A.8.2 template_dependency_structure.
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let mut structure = Self {
            offset: bits.read(6)? as u8,
            count: 1,
            chains: 0,
            targets: [Target::default(); TARGETS_MAX],
            target_count: bits.read(5)? as u8 + 1,
            templates: [Template::default(); TEMPLATES_MAX],
            template_count: 0,
            sizes: None,
        };
        structure.read_layers(bits)?;
        let count = usize::from(structure.template_count);
        for template in structure.templates.iter_mut().take(count) {
            template.indications = Indications::read(bits, structure.target_count)?;
        }
        for template in structure.templates.iter_mut().take(count) {
            while bits.flag()? {
                template.references.push(bits.read(4)? + 1)?;
            }
        }
        structure.read_chains(bits)?;
        structure.find_targets();
        if bits.flag()? {
            let mut sizes = [(0, 0); SPATIAL_MAX];
            for size in sizes.iter_mut().take(structure.count.into()) {
                // Both are one less than they mean; 65,536 is taken as the greatest there is.
                let mut next = || Some((bits.read(16)? as u16).saturating_add(1));
                *size = (next()?, next()?);
            }
            structure.sizes = Some(sizes);
        }
        Some(structure)
    }

    fn read_layers(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let (mut spatial, mut temporal) = (0u8, 0u8);
        loop {
            let template = self.templates.get_mut(usize::from(self.template_count))?;
            (template.spatial, template.temporal) = (spatial, temporal);
            self.template_count += 1;
            match bits.read(2)? {
                0 => {}
                1 => temporal = temporal.checked_add(1)?,
                2 => (spatial, temporal) = (spatial + 1, 0),
                _ => break,
            }
            if usize::from(spatial) >= SPATIAL_MAX {
                return None;
            }
        }
        self.count = spatial + 1;
        Some(())
    }

    fn read_chains(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        self.chains = bits.below(u32::from(self.target_count) + 1)? as u8;
        if self.chains == 0 {
            return Some(());
        }
        for target in self.targets.iter_mut().take(self.target_count.into()) {
            target.chain = Some(bits.below(self.chains.into())? as u8);
        }
        for template in self.templates.iter_mut().take(self.template_count.into()) {
            for distance in template.chains.iter_mut().take(self.chains.into()) {
                *distance = bits.read(4)? as u8;
            }
        }
        Some(())
    }

    /// A.8.2 decode_target_layers: the highest of all templates that are of the target.
    fn find_targets(&mut self) {
        let templates = self.templates;
        let all = self.targets.iter_mut().enumerate();
        for (index, target) in all.take(self.target_count.into()) {
            let of_it = templates.iter().take(self.template_count.into());
            for template in of_it.filter(|t| t.indications.get(index) != Indication::NotPresent) {
                target.spatial = target.spatial.max(template.spatial);
                target.temporal = target.temporal.max(template.temporal);
            }
        }
    }
}

#[cfg(test)]
#[path = "dependency_descriptor_tests.rs"]
mod tests;
