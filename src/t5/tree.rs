//! Several targets of one source as a tree of decoder inputs: what they begin with alike is computed once.

use super::batch::MASKED;
use burn::tensor::{Device, Tensor, TensorData};
use std::collections::HashMap;

/// Inputs of the decoder, each behind its parent. The root is the start token; the scores at a node are those of the token
/// that follows it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tree {
    /// The token of each node, parents first.
    pub(super) ids: Vec<u32>,
    /// The parent of each node; the root's is itself.
    parents: Vec<usize>,
    /// Tokens before each node.
    pub(super) depths: Vec<usize>,
    /// For each target the nodes at which its ids are scored.
    pub(super) paths: Vec<Vec<usize>>,
}

impl Tree {
    /// The tree of targets of at least one id each.
    pub(super) fn new(start: u32, targets: &[impl AsRef<[u32]>]) -> Self {
        let mut tree = Self { ids: vec![start], parents: vec![0], depths: vec![0], paths: Vec::new() };
        let mut children: HashMap<(usize, u32), usize> = HashMap::new();
        for target in targets {
            let ids = target.as_ref();
            let mut path = vec![0];
            for id in &ids[..ids.len() - 1] {
                let parent = path[path.len() - 1];
                let node = *children.entry((parent, *id)).or_insert_with(|| {
                    tree.ids.push(*id);
                    tree.parents.push(parent);
                    tree.depths.push(tree.depths[parent] + 1);
                    tree.ids.len() - 1
                });
                path.push(node);
            }
            tree.paths.push(path);
        }
        tree
    }

    /// Whether `key` is `query` or stands before it.
    fn sees(&self, mut query: usize, key: usize) -> bool {
        while query > key {
            query = self.parents[query];
        }
        query == key
    }

    /// What to add to self-attention scores so that each node sees itself and what it follows: `[trees, 1, width, width]`,
    /// one for all where all are of one form. Padding sees itself.
    pub(super) fn mask(trees: &[Self], width: usize, device: &Device) -> Tensor<4> {
        let see = |tree: &Self, query: usize, key: usize| {
            let seen = if query < tree.ids.len() { tree.sees(query, key) } else { query == key };
            if seen { 0.0 } else { MASKED }
        };
        let of = |tree: &Self| {
            let each = (0..width).flat_map(|query| (0..width).map(move |key| (query, key)));
            each.map(|(query, key)| see(tree, query, key)).collect::<Vec<f32>>()
        };
        let values: Vec<f32> = trees.iter().flat_map(of).collect();
        Tensor::from_data(TensorData::new(values, [trees.len(), 1, width, width]), device)
    }

    /// The trees whose form differs: one where all are alike.
    pub(super) fn forms(trees: &[Self]) -> &[Self] {
        if trees.windows(2).all(|pair| pair[0].parents == pair[1].parents) { &trees[..1] } else { trees }
    }
}

/// Positions of the decoder that scoring these targets takes.
pub fn decoder_positions(targets: &[Vec<u32>]) -> usize {
    Tree::new(0, targets).ids.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_alike_stands_once() {
        let check = |targets: &[&[u32]], ids: &[u32], depths: &[usize], paths: &[&[usize]]| {
            let tree = Tree::new(0, targets);
            assert_eq!((&tree.ids[..], &tree.depths[..]), (ids, depths), "{targets:?}");
            assert_eq!(tree.paths, paths, "{targets:?}");
        };
        check(&[&[5]], &[0], &[0], &[&[0]]);
        check(&[&[5, 1], &[6, 1]], &[0, 5, 6], &[0, 1, 1], &[&[0, 1], &[0, 2]]);
        check(&[&[5, 7, 1], &[5, 8, 1], &[5, 1]], &[0, 5, 7, 8], &[0, 1, 2, 2], &[&[0, 1, 2], &[0, 1, 3], &[0, 1]]);
        check(&[&[5, 5, 1], &[5, 5, 1]], &[0, 5, 5], &[0, 1, 2], &[&[0, 1, 2], &[0, 1, 2]]);
        assert_eq!(decoder_positions(&[vec![5, 7, 1], vec![5, 8, 1]]), 4);
    }

    #[test]
    fn a_node_sees_itself_and_what_it_follows() {
        let tree = Tree::new(0, &[&[5, 7, 1][..], &[6, 7, 1]]); // 0; 5, 7; 6, 7
        let mask = Tree::mask(std::slice::from_ref(&tree), 6, &Device::flex()).try_into_vec_as::<f32>().unwrap();
        let seen: Vec<Vec<usize>> = mask.chunks(6).map(|row| (0..6).filter(|key| row[*key] == 0.0).collect()).collect();
        assert_eq!(seen, [vec![0], vec![0, 1], vec![0, 1, 2], vec![0, 3], vec![0, 3, 4], vec![5]]);
    }
}
