//! What the estimator promises, each as a sentence, over paths of many kinds.

mod hostile;
mod many;
mod paths;
mod rules;
mod showers;
mod silent;
mod sim;
