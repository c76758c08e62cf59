package lint

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Every package says what it owns.
func TestPackagesAreDocumented(t *testing.T) {
	root := root(t)
	documented := map[string]bool{} // by folder
	for _, file := range goFiles(t, root) {
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("parse: %v", err)
			continue
		}
		folder := filepath.Dir(file)
		documented[folder] = documented[folder] || parsed.Doc != nil || ast.IsGenerated(parsed)
	}
	for folder, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment", folder)
		}
	}
}

// docs/dependencies.md gives a reason for each module that go.mod requires
// directly and each package that setup installs.
func TestDependenciesAreExplained(t *testing.T) {
	root := root(t)
	text, err := os.ReadFile(filepath.Join(root, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	explained := func(what, name string) {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("docs/dependencies.md does not explain the %s `%s`", what, name)
		}
	}

	each(t, filepath.Join(root, "tools", "setup", "packages"), func(fields []string) { explained("package", fields[0]) })
	required := false
	each(t, filepath.Join(root, "go.mod"), func(fields []string) {
		switch {
		case fields[0] == "require" || fields[0] == ")":
			required = fields[0] == "require"
		case required && fields[len(fields)-1] != "indirect":
			explained("module", fields[0])
		}
	})
}

// each calls visit with the words of every line of a file that has any and is
// no comment.
func each(t *testing.T, path string, visit func([]string)) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) > 0 && !strings.HasPrefix(fields[0], "#") {
			visit(fields)
		}
	}
}
