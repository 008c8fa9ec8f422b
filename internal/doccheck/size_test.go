package doccheck

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A file that is longer holds more than one thing: tests too, and the modules of their own.
const mostLines = 450

// mostFields is how many settings a struct may have; related ones stand in a struct of their own.
const mostFields = 15

// importGnet are the files that may import gnet, besides tests: an engine's own doing with it is in few places.
var importGnet = []string{
	"engine/loop.go",
	"engine/run.go",
	"engine/socket_gnet.go",
}

// goFiles calls f for every Go file below the root that is not generated, with its path from there.
func goFiles(t *testing.T, f func(name string, text []byte)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if file, err := parser.ParseFile(token.NewFileSet(), path, text, parser.PackageClauseOnly|parser.ParseComments); err == nil && ast.IsGenerated(file) {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err == nil {
			f(filepath.ToSlash(name), text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestNoFileIsTooLong(t *testing.T) {
	goFiles(t, func(name string, text []byte) {
		if n := strings.Count(string(text), "\n"); n > mostLines {
			t.Errorf("%s has %d lines, more than %d", name, n, mostLines)
		}
	})
}

func TestGnetIsImportedInFewPlaces(t *testing.T) {
	unused := slices.Clone(importGnet)
	goFiles(t, func(name string, text []byte) {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "bench/") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); !strings.HasPrefix(path, "github.com/panjf2000/gnet/") {
				continue
			}
			if !slices.Contains(importGnet, name) {
				t.Errorf("%s imports gnet", name)
			}
			unused = slices.DeleteFunc(unused, func(n string) bool { return n == name })
		}
	})
	if len(unused) > 0 {
		t.Errorf("these do not import gnet any more: %v", unused)
	}
}

// Settings are the structs whose names end in Config or Options, and those of the same package that stand in them.
func TestNoSettingsHaveTooManyFields(t *testing.T) {
	for pkg := range mayImport {
		code, _ := parse(t, pkg)
		for name, fields := range settings(code) {
			if fields > mostFields {
				t.Errorf("%s.%s has %d fields, more than %d: those that belong together stand in a struct of their own", pkg, name, fields, mostFields)
			}
		}
	}
}

// settings returns the structs of settings of a package, and how many fields each has.
func settings(code []*ast.File) map[string]int {
	structs := make(map[string]*ast.StructType)
	var todo []string
	for _, f := range code {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			if s, ok := spec.Type.(*ast.StructType); ok && spec.Name.IsExported() {
				structs[spec.Name.Name] = s
				if strings.HasSuffix(spec.Name.Name, "Config") || strings.HasSuffix(spec.Name.Name, "Options") {
					todo = append(todo, spec.Name.Name)
				}
			}
			return false
		})
	}
	fields := make(map[string]int)
	for len(todo) > 0 {
		name := todo[0]
		todo = todo[1:]
		s := structs[name]
		if _, known := fields[name]; known || s == nil {
			continue
		}
		n := 0
		for _, f := range s.Fields.List {
			n += max(1, len(f.Names))
			ast.Inspect(f.Type, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					todo = append(todo, id.Name)
				}
				_, isFunc := n.(*ast.FuncType)
				return !isFunc // what a function is called with is no setting
			})
		}
		fields[name] = n
	}
	return fields
}
