use super::*;

const fn inside(confirmations: u32) -> Place {
    Place::InChain { confirmations }
}

const fn aside(confirmations: u32) -> Place {
    Place::Aside { confirmations }
}

/// `None`: the node gives no answer.
fn weighed(words: &[Option<Place>]) -> Option<Place> {
    let mut sum = Words::default();
    for word in words {
        match word {
            Some(place) => sum.add(*place),
            None => sum.failed = Some(PlaceError::GivenUp),
        }
        if sum.suffice() {
            break;
        }
    }
    sum.weigh().ok()
}

#[test]
fn who_has_the_block_is_believed_while_nobody_contradicts() {
    assert_eq!(weighed(&[Some(inside(3))]), Some(inside(3)));
    assert_eq!(weighed(&[None, Some(Place::Beyond), Some(inside(3))]), Some(inside(3)));
    assert_eq!(weighed(&[Some(aside(2)), Some(aside(1)), Some(Place::Beyond)]), Some(aside(2)));
    assert_eq!(weighed(&[Some(Place::Beyond), None]), Some(Place::Beyond));
    assert_eq!((weighed(&[]), weighed(&[None])), (None, None));
}

#[test]
fn of_two_chains_the_longer_one_counts_whatever_the_order() {
    for (words, expected) in [
        ([aside(1), inside(1)], Place::Disputed),
        ([aside(4), inside(4)], Place::Disputed),
        ([aside(2), inside(1)], aside(2)),
        ([aside(1), inside(2)], inside(2)),
    ] {
        assert_eq!(weighed(&words.map(Some)), Some(expected), "{words:?}");
    }
    let three = [aside(1), inside(1), aside(2)].map(Some);
    assert_eq!(weighed(&three), Some(aside(2)));
}

#[test]
fn a_rival_alone_at_the_tip_waits_for_the_node_that_does_not_answer() {
    assert_eq!(weighed(&[Some(aside(1)), None]), Some(Place::Disputed));
    assert_eq!(weighed(&[None, Some(aside(2))]), Some(aside(2)));
    assert_eq!(weighed(&[Some(aside(1))]), Some(aside(1)));
}
