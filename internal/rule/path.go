package rule

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
)

// ReadPath reads a rule file, whatever its name, or every *.yaml below a folder.
// Sources are named by path, so that problems can be found.
func ReadPath(path string) ([]Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	if !info.IsDir() {
		dir, name := filepath.Split(path)
		data, err := readFile(os.DirFS(cmp.Or(dir, ".")), name)
		if err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		return []Source{{Name: path, Data: data}}, nil
	}
	found, err := ReadFS(os.DirFS(path))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("read rules: %s holds no *.yaml", path)
	}
	for i := range found {
		found[i].Name = filepath.Join(path, found[i].Name)
	}
	return found, nil
}
