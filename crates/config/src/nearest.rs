//! The nearest of several names, by edit distance.

/// The candidate that a slip of the finger turns into `name`, whatever the case.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let name = name.to_lowercase();
    // One letter in three may be wrong: more, and the guess is noise.
    let distance_max = (name.chars().count() / 3).max(1);
    candidates
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&name, &candidate.to_lowercase()),
                candidate,
            )
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= distance_max)
        .map(|(_, candidate)| candidate)
}
