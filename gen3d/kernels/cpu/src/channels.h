// Loops over channels whose number is known at compile time where that pays.
#pragma once

#include <type_traits>

namespace gen3d {

template <int V>
using Constant = std::integral_constant<int, V>;

// Calls run(constant) with the number of channels as a compile-time constant if it is one of `Known`, else with 0.
template <int... Known, class Run>
void with_channels(int channels, Run run) {
  const bool found = ((channels == Known && (run(Constant<Known>()), true)) || ...);
  if (!found) run(Constant<0>());
}

}  // namespace gen3d
