//! Everybody in a room, and the numbered changes that keep all copies of the list equal.

use std::collections::BTreeMap;

use sfu::engine::id::PointNumber;

use crate::protocol::{Change, Point, ServerMessage};

/// Points by number. Every change that is one moves the sequence by exactly one.
#[derive(Debug, Default)]
pub struct Roster {
    points: BTreeMap<PointNumber, Point>,
    sequence: u64,
}

impl Roster {
    /// Everybody, by number.
    pub fn points(&self) -> Vec<Point> {
        self.points.values().cloned().collect()
    }

    /// Everybody, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Point> {
        self.points.values()
    }

    /// Number of the last change.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How many are in.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether nobody is in.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The point of that number.
    pub fn point(&self, number: PointNumber) -> Option<&Point> {
        self.points.get(&number)
    }

    /// Puts a point in as it is now. Says what changed; nothing if it was so already.
    pub fn set(&mut self, point: Point) -> Option<ServerMessage> {
        let change = match self.points.get(&point.number) {
            Some(known) if *known == point => return None,
            Some(_) => Change::Changed,
            None => Change::Joined,
        };
        self.points.insert(point.number, point.clone());
        Some(self.numbered(change, point))
    }

    /// Changes a point in place. Says what changed; nothing if there is no such point or it was so already.
    pub fn update(&mut self, number: PointNumber, edit: impl FnOnce(&mut Point)) -> Option<ServerMessage> {
        let mut point = self.points.get(&number)?.clone();
        edit(&mut point);
        self.set(point)
    }

    /// Takes a point out.
    pub fn remove(&mut self, number: PointNumber) -> Option<ServerMessage> {
        let point = self.points.remove(&number)?;
        Some(self.numbered(Change::Left, point))
    }

    fn numbered(&mut self, change: Change, point: Point) -> ServerMessage {
        self.sequence += 1;
        ServerMessage::Point {
            sequence: self.sequence,
            change,
            point,
        }
    }
}
