//! The policy host against guests that behave and guests that do not.

mod answers;
mod guest;
mod house;
mod loading;
mod reload;
