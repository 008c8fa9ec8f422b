package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An edit that does not compile breaks no rule. Each package that an edit touches is type-checked, with its tests, against the
// compiled packages that it imports: that takes a second or two for all.
func TestEditedCodeCompiles(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	all, err := readAll(filepath.Join("internal", "mutants", "edits"))
	if err != nil {
		t.Fatal(err)
	}
	modules := make(map[string]map[string]bool) // the directories of their packages
	for _, m := range all {
		for _, e := range m.edits {
			dir := path.Dir(e.file)
			module := moduleOf(dir)
			if modules[module] == nil {
				modules[module] = make(map[string]bool)
			}
			modules[module][dir] = true
		}
	}
	checkers := make(map[string]*checker) // by directory
	for module, dirs := range modules {
		c := newChecker(t, module, dirs)
		for dir := range dirs {
			if err := c.check(dir, nil); err != nil {
				t.Fatalf("%s, the code as it is: %v", dir, err)
			}
			checkers[dir] = c
		}
	}
	for _, m := range all {
		edited := make(map[string][]byte)
		touched := make(map[string]bool)
		for _, e := range m.edits {
			text := edited[e.file]
			if text == nil {
				if text, err = os.ReadFile(filepath.FromSlash(e.file)); err != nil {
					t.Fatal(err)
				}
			}
			edited[e.file] = bytes.Replace(text, []byte(e.old), []byte(e.new), 1)
			touched[path.Dir(e.file)] = true
		}
		for dir := range touched {
			if err := checkers[dir].check(dir, edited); err != nil {
				t.Errorf("%s does not compile: %v", m.name, err)
			}
		}
	}
}

// The copy in which the model runs has no other tests: what the model uses stands in its own files.
func TestTheModelCompilesWithoutOtherTests(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	c := newChecker(t, ".", map[string]bool{"usermgr": true})
	p := c.packages["usermgr"]
	var files []*ast.File
	for _, name := range p.XTestGoFiles {
		if !strings.HasPrefix(name, "model") {
			continue
		}
		f, err := c.file(path.Join("usermgr", name), nil)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	if _, err := (&types.Config{Importer: c.imports}).Check(p.ImportPath+"_test", c.set, files, nil); err != nil || len(files) == 0 {
		t.Errorf("%d files of the model: %v", len(files), err)
	}
}

// checker type-checks packages of a module.
type checker struct {
	set      *token.FileSet
	imports  types.Importer
	packages map[string]*listed   // by directory
	parsed   map[string]*ast.File // of the code as it is, by file
}

// listed has what the go command says of a package.
type listed struct {
	ImportPath, Export                string
	GoFiles, TestGoFiles, TestImports []string
	XTestGoFiles, XTestImports        []string
}

// moduleOf returns the directory of the module that a directory belongs to.
func moduleOf(dir string) string {
	for ; dir != "."; dir = path.Dir(dir) {
		if _, err := os.Stat(filepath.Join(filepath.FromSlash(dir), "go.mod")); err == nil {
			break
		}
	}
	return dir
}

func newChecker(t *testing.T, module string, dirs map[string]bool) *checker {
	t.Helper()
	c := &checker{set: token.NewFileSet(), packages: make(map[string]*listed), parsed: make(map[string]*ast.File)}
	var needed []string
	for dir := range dirs {
		p := list(t, dir, ".")[0]
		c.packages[dir] = p
		needed = append(append(append(needed, p.ImportPath), p.TestImports...), p.XTestImports...)
	}
	exports := make(map[string]string)
	for _, p := range list(t, module, append([]string{"-deps", "-export"}, needed...)...) {
		exports[p.ImportPath] = p.Export
	}
	c.imports = importer.ForCompiler(c.set, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("neither the package nor its tests import %s before the edit", path)
		}
		return os.Open(exports[path])
	})
	return c
}

// list asks the go command, in a directory, about packages.
func list(t *testing.T, dir string, args ...string) (all []*listed) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Export,GoFiles,TestGoFiles,TestImports,XTestGoFiles,XTestImports"}, args...)...)
	cmd.Dir = filepath.FromSlash(dir)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for in := json.NewDecoder(bytes.NewReader(out)); ; {
		p := &listed{}
		if err := in.Decode(p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// check type-checks a package with the tests in it. edited has the texts of those files that are not as on the disk.
func (c *checker) check(dir string, edited map[string][]byte) error {
	p := c.packages[dir]
	var files []*ast.File
	for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles) {
		f, err := c.file(path.Join(dir, name), edited)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	_, err := (&types.Config{Importer: c.imports}).Check(p.ImportPath, c.set, files, nil)
	return err
}

// file parses a file; those that are not edited, once.
func (c *checker) file(name string, edited map[string][]byte) (*ast.File, error) {
	if text := edited[name]; text != nil {
		return parser.ParseFile(c.set, name, text, parser.SkipObjectResolution)
	}
	if f := c.parsed[name]; f != nil {
		return f, nil
	}
	f, err := parser.ParseFile(c.set, filepath.FromSlash(name), nil, parser.SkipObjectResolution)
	c.parsed[name] = f
	return f, err
}
