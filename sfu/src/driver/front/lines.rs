//! The network, and who is behind its lines: each shard shares a line among its own rooms, and has to know how many there are on other
//! shards, so that all of them together never take more than the line's budget.

use std::collections::BTreeSet;

use super::{Front, SITE_BYTES_MAX};
use crate::{
    control::{ControlError, LINES_MAX, LINES_ON_WAY_MAX, LineId, Network, Reply, SITES_MAX},
    driver::{
        news::ShardIndex,
        shard::{Behind, Order},
    },
    engine::id::LineIndex,
};

impl Front {
    pub(super) async fn set_network(&mut self, network: Network) -> Result<Reply, ControlError> {
        if !is_network(&network) {
            return Err(ControlError::BadValue);
        }
        self.network = network;
        self.networked.clear();
        self.tell_all_network().await.map(|()| Reply::Done)
    }

    /// Tells every shard that runs the network, if it does not know it. *One that hung, and is not told when it goes on, takes a whole line for its own
    /// part of it.*
    pub(super) async fn tell_all_network(&mut self) -> Result<(), ControlError> {
        let mut told = Ok(());
        for shard in self.shards.indexes() {
            if self.shards.is_running(shard) {
                // The others hear of it all the same.
                told = told.and(self.tell_network(shard).await);
            }
        }
        told
    }

    /// Tells a shard the network, if it does not know it.
    pub(super) async fn tell_network(&mut self, shard: ShardIndex) -> Result<(), ControlError> {
        if !self.networked.contains_key(&shard) {
            let elsewhere = self.elsewhere(shard);
            let order = Order::SetNetwork {
                network: self.network.clone(),
                elsewhere: elsewhere.clone(),
            };
            self.shards.ask(shard, order).await?;
            self.networked.insert(shard, elsewhere);
        }
        Ok(())
    }

    /// Tells shards who is behind the lines on other shards, if that changed. Before a newcomer joins, and after somebody left: a
    /// shard's part of a line shrinks before another's grows.
    pub(super) async fn tell_elsewhere(&mut self) {
        if !std::mem::take(&mut self.is_stale) {
            return;
        }
        for shard in self.shards.indexes() {
            let elsewhere = self.elsewhere(shard);
            let Some(told) = self.networked.get_mut(&shard) else {
                continue;
            };
            if *told != elsewhere {
                told.clone_from(&elsewhere);
                // One that does not run is told when it runs.
                let _ = self.shards.ask(shard, Order::SetElsewhere(elsewhere)).await;
            }
        }
    }

    /// How many there are behind each line on other shards.
    fn elsewhere(&self, shard: ShardIndex) -> Behind {
        let mut elsewhere = Behind::new();
        for (other, behind) in self.rooms.behind(&self.network) {
            if other != shard {
                for (line, count) in behind {
                    *elsewhere.entry(line).or_default() += count;
                }
            }
        }
        elsewhere
    }
}

/// Whether a network keeps its limits: as many lines and sites as are served, each line once, ways of lines that are
/// there, none of them twice.
fn is_network(network: &Network) -> bool {
    let ids: BTreeSet<&LineId> = network.lines.iter().map(|line| &line.id).collect();
    let is_way = |way: &[LineIndex]| {
        let places: BTreeSet<LineIndex> = way.iter().copied().collect();
        way.len() <= LINES_ON_WAY_MAX
            && places.len() == way.len()
            && way.iter().all(|line| usize::from(line.0) < network.lines.len())
    };
    network.lines.len() <= LINES_MAX
        && ids.len() == network.lines.len()
        && network.sites.len() <= SITES_MAX
        && network
            .sites
            .iter()
            .all(|(site, way)| site.len() <= SITE_BYTES_MAX && is_way(way))
}
