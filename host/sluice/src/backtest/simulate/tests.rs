use super::*;

#[test]
fn times_are_in_order() {
    let mut heap: BinaryHeap<Reverse<(At, usize)>> = BinaryHeap::new();
    for (number, at) in [3.0, 1.0, 2.0, 1.0].into_iter().enumerate() {
        heap.push(Reverse((At(at), number)));
    }
    let order: Vec<usize> = std::iter::from_fn(|| heap.pop().map(|Reverse((_, number))| number)).collect();
    assert_eq!(order, [1, 3, 2, 0]);
}
