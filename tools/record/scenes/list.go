package scenes

import (
	"path"
	"slices"
)

// all lists the scenes of the built-in rules, and those that are no rule's.
func all() []Scene {
	scenes := slices.Concat(web(), shells(), files(), memory(), credentials(), knobs(), escapes())
	for i := range scenes {
		scenes[i].File = path.Join(Root, scenes[i].File)
	}
	return append(scenes, kinds())
}
