//! Tables, plots, exports.
