//! What the estimator promises, each as a sentence, over paths of many kinds.

mod many;
mod paths;
mod sim;
