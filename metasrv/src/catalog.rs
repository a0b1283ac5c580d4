//! What frontends see of the truth: an image that follows the store, and its news.

mod feed;
mod image;
#[cfg(test)]
mod tests;

pub(crate) use feed::Feed;
pub(crate) use image::Openness;
