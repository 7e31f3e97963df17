//! Landing into a lake in a local directory, with the repository's own declarations and queries.

mod landing;
