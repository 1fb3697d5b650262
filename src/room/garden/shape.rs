//! The shape of a ratchet tree: which nodes are blank, and what a commit with a path costs by that (RFC 9420 §7.4 to §7.9).
//!
//! A commit seals a path secret to each node of the *resolution* of each node beside its path: one where that node is
//! filled, and where it is blank one for every filled node nearest below it. So in a tree of a thousand leaves a commit has
//! ten ciphertexts if all nodes beside its path are filled, and a thousand if none is.
//!
//! It is pure, and all members of an epoch have the same of it.

use std::collections::BTreeSet;

use crate::identity::LeafIndex;

/// Nodes are numbered from 1, the root; those below node `n` are `2n` and `2n + 1`.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// How many leaves there are places for: a power of two.
    places: usize,
    /// How many nodes the resolution of each has.
    resolution: Vec<u32>,
}

impl Shape {
    /// That of a tree with those leaves, and those other filled nodes: of each its place in the array of RFC 9420 appendix C,
    /// and how many unmerged leaves it has.
    pub(crate) fn new(leaves: impl Iterator<Item = LeafIndex>, parents: impl Iterator<Item = (usize, u32)>) -> Self {
        let leaves: Vec<_> = leaves.map(|leaf| leaf.0 as usize).collect();
        let places = leaves.iter().max().map_or(1, |last| last + 1).next_power_of_two();
        let mut resolution = vec![0; 2 * places];
        let mut set = |at: usize, size| {
            if let Some(of) = resolution.get_mut(at) {
                *of = size;
            }
        };
        leaves.iter().for_each(|leaf| set(places + leaf, 1));
        for (at, unmerged) in parents {
            let level = at.trailing_ones();
            set((places >> level) + (at >> (level + 1)), unmerged.saturating_add(1));
        }
        let mut shape = Self { places, resolution };
        for node in (1..places).rev() {
            if shape.of(node) == 0 {
                shape.resolve(node);
            }
        }
        shape
    }

    fn of(&self, node: usize) -> u32 {
        self.resolution.get(node).copied().unwrap_or(0)
    }

    fn put(&mut self, node: usize, size: u32) {
        if let Some(of) = self.resolution.get_mut(node) {
            *of = size;
        }
    }

    /// `node` is blank: it stands for those below it.
    fn resolve(&mut self, node: usize) {
        self.put(node, self.of(2 * node).saturating_add(self.of(2 * node + 1)));
    }

    /// The node of a leaf, if it has a place.
    fn node(&self, leaf: LeafIndex) -> Option<usize> {
        let leaf = leaf.0 as usize;
        (leaf < self.places).then_some(self.places + leaf)
    }

    /// The nodes above `node`, the root last.
    fn above(node: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(node / 2), |node| Some(node / 2)).take_while(|node| *node > 0)
    }

    /// The nodes beside the path of `leaf`, the one next to the leaf first.
    fn beside(&self, leaf: LeafIndex) -> impl Iterator<Item = usize> {
        let node = self.node(leaf).unwrap_or(1);
        std::iter::once(node).chain(Self::above(node)).filter(|node| *node > 1).map(|node| node ^ 1)
    }

    /// How many levels there are above a leaf.
    pub(crate) fn depth(&self) -> u32 {
        self.places.trailing_zeros()
    }

    /// How many ciphertexts a commit of whoever sits at `leaf` has.
    pub(crate) fn cost(&self, leaf: LeafIndex) -> u32 {
        self.beside(leaf).map(|node| self.of(node)).fold(0, u32::saturating_add)
    }

    /// Whether a commit with a path by `leaf` would make others' cost less: a node above it, below the root, is blank or has
    /// unmerged leaves, and stands for more than one.
    pub(crate) fn is_of_use(&self, leaf: LeafIndex) -> bool {
        self.node(leaf).is_some_and(|node| Self::above(node).any(|node| node > 1 && self.of(node) > 1))
    }

    /// A leaf goes: what is above it is blank.
    pub(crate) fn remove(&mut self, leaf: LeafIndex) {
        let Some(node) = self.node(leaf) else { return };
        self.put(node, 0);
        // Nobody knows of the nodes above whether they were filled: from here on they are not.
        Self::above(node).for_each(|node| self.resolve(node));
    }

    /// Whoever sits at `leaf` commits with a path: what is above it is filled.
    pub(crate) fn fill(&mut self, leaf: LeafIndex) {
        let Some(node) = self.node(leaf) else { return };
        Self::above(node).for_each(|node| self.put(node, 1));
    }

    /// The same after a commit with a path by whoever sits at `committer` that removes those leaves.
    pub(crate) fn after(mut self, removes: &BTreeSet<LeafIndex>, committer: LeafIndex) -> Self {
        removes.iter().for_each(|leaf| self.remove(*leaf));
        self.fill(committer);
        self
    }

    /// Up to `most` leaves whose owners' commits, one each, make others' cost less, spread over the tree: first those by
    /// which the commits of `leaf` come to cost least, then whoever fills the most below that. Only of those who `can`.
    pub(crate) fn gardeners(
        mut self,
        leaf: LeafIndex,
        can: impl Fn(LeafIndex) -> bool,
        most: usize,
    ) -> BTreeSet<LeafIndex> {
        let mut chosen = BTreeSet::new();
        let beside: BTreeSet<usize> = self.beside(leaf).collect();
        let mut barren = BTreeSet::new();
        let able = self.able(|other| other != leaf && can(other));
        while chosen.len() < most {
            let is_able = |node: &usize| able.get(*node).copied().unwrap_or(false);
            let is_dear = |node: &usize| self.of(*node) > 1 && is_able(node) && !barren.contains(node);
            let size = |node: &usize| self.of(*node);
            let dearest = beside.iter().copied().filter(is_dear).max_by_key(size);
            let dearest = dearest.or_else(|| (2..self.places).filter(is_dear).max_by_key(size));
            let Some(top) = dearest.filter(|node| beside.contains(node) || self.of(*node) >= WORTH) else { break };
            match self.most_below(top, &able) {
                Some(gardener) if chosen.insert(gardener) => self.fill(gardener),
                _ => {
                    barren.insert(top);
                }
            }
        }
        chosen
    }

    /// Below which nodes somebody sits who `can`.
    fn able(&self, can: impl Fn(LeafIndex) -> bool) -> Vec<bool> {
        let mut able = vec![false; 2 * self.places];
        for (place, leaf) in (self.places..).zip(0..).take(self.places) {
            if let Some(is_able) = able.get_mut(place) {
                *is_able = self.of(place) > 0 && can(LeafIndex(leaf));
            }
        }
        for node in (1..self.places).rev() {
            let below =
                able.get(2 * node).copied().unwrap_or(false) || able.get(2 * node + 1).copied().unwrap_or(false);
            if let Some(is_able) = able.get_mut(node) {
                *is_able = below;
            }
        }
        able
    }

    /// The leaf below `node` that one comes to who goes down to the larger resolution each time, where somebody is able.
    fn most_below(&self, mut node: usize, able: &[bool]) -> Option<LeafIndex> {
        let is_able = |node: &usize| able.get(*node).copied().unwrap_or(false);
        while node < self.places {
            node = [2 * node, 2 * node + 1].into_iter().filter(is_able).max_by_key(|node| self.of(*node))?;
        }
        is_able(&node).then(|| u32::try_from(node - self.places).ok().map(LeafIndex))?
    }
}

/// The smallest resolution of a node away from the planter's path for which somebody is asked to commit.
const WORTH: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn bare(leaves: u32) -> Shape {
        Shape::new((0..leaves).map(LeafIndex), std::iter::empty())
    }

    #[test]
    fn a_bare_tree_costs_every_other_leaf_and_a_filled_one_each_level() {
        for leaves in [1, 2, 3, 4, 5, 16, 17, 1_000] {
            let mut shape = bare(leaves);
            for leaf in (0..leaves).map(LeafIndex) {
                assert_eq!(shape.cost(leaf), leaves - 1);
            }
            (0..leaves).for_each(|leaf| shape.fill(LeafIndex(leaf)));
            assert!((0..leaves).all(|leaf| shape.cost(LeafIndex(leaf)) <= shape.depth()), "{leaves}");
            assert!(!(0..leaves).any(|leaf| shape.is_of_use(LeafIndex(leaf))));
        }
    }

    #[test]
    fn nodes_lie_where_the_array_of_the_rfc_has_them() {
        // RFC 9420, appendix C: of seven leaves' tree the nodes 1, 3, 5, 7, 9, 11, 13 are no leaves; 3 is above 1 and 5.
        let leaves = || (0..7).map(LeafIndex);
        let costs = |parent: usize, unmerged| {
            let shape = Shape::new(leaves(), [(parent, unmerged)].into_iter());
            (0..7).map(|leaf| shape.cost(LeafIndex(leaf))).collect::<Vec<_>>()
        };
        assert_eq!(costs(3, 0), [6, 6, 6, 6, 3, 3, 3]);
        assert_eq!(costs(3, 2), [6, 6, 6, 6, 5, 5, 5]);
        assert_eq!(costs(5, 0), [5, 5, 6, 6, 5, 5, 5]);
        assert_eq!(costs(11, 0), [4, 4, 4, 4, 6, 6, 6]);
        assert_eq!(costs(7, 0), [6; 7], "the root is beside nobody's path");
    }

    #[test]
    fn as_many_gardeners_as_there_are_levels_make_the_planters_commits_cost_least() {
        for (leaves, leaf) in [(1_000, 0), (1_000, 999), (1_000, 517), (100, 3), (1_024, 1_023), (4_096, 77)] {
            let leaf = LeafIndex(leaf);
            let mut shape = bare(leaves);
            shape.fill(leaf);
            let chosen = shape.clone().gardeners(leaf, |_| true, 16);
            assert!(chosen.len() <= 16 && !chosen.contains(&leaf));
            assert!(chosen.iter().all(|gardener| shape.is_of_use(*gardener)), "{chosen:?}");
            chosen.iter().for_each(|gardener| shape.fill(*gardener));
            assert!(shape.cost(leaf) <= shape.depth(), "{leaves}, {leaf:?}: {}", shape.cost(leaf));
        }
    }

    #[test]
    fn only_who_can_is_asked_and_nobody_twice() {
        let shape = bare(256);
        let even = shape.clone().gardeners(LeafIndex(0), |leaf| leaf.0 % 2 == 0, 16);
        assert!(even.len() >= 7 && even.iter().all(|leaf| leaf.0 % 2 == 0), "{even:?}");
        assert!(shape.clone().gardeners(LeafIndex(0), |_| false, 16).is_empty());
        let one = shape.gardeners(LeafIndex(0), |leaf| leaf.0 == 200, 16);
        assert!(one.iter().map(|leaf| leaf.0).eq([200]));
    }

    #[test]
    fn who_goes_leaves_a_blank_path_and_who_commits_fills_it() {
        let mut shape = bare(1_024);
        (0..1_024).for_each(|leaf| shape.fill(LeafIndex(leaf)));
        shape.remove(LeafIndex(700));
        assert!(shape.cost(LeafIndex(0)) > 10 && shape.cost(LeafIndex(0)) <= 20);
        assert!(!shape.is_of_use(LeafIndex(0)) && shape.is_of_use(LeafIndex(701)));
        shape.fill(LeafIndex(701));
        assert_eq!(shape.cost(LeafIndex(0)), 10);
        assert!(!shape.is_of_use(LeafIndex(701)), "it is of use once");
    }
}
