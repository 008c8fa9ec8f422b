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

const module = "github.com/rollcall-go/rollcall/"

// front is the package at the root.
const front = "."

// mayImport says which packages of the module a public package may import. A package's tests may import anything.
var mayImport = map[string][]string{
	front:                    {"protocol", "usermgr", "engine", "bridge", "heartbeat"},
	"protocol":               {"internal/bodies", "internal/layout"},
	"heartbeat":              {"internal/wheel"},
	"usermgr":                {"heartbeat", "protocol", "internal/clock", "internal/codes", "internal/contain", "internal/logging", "internal/seam", "internal/table", "internal/wheel"},
	"engine":                 {"protocol", "internal/clock", "internal/codes", "internal/contain", "internal/gnetloop", "internal/layout", "internal/logging", "internal/seam", "internal/system", "internal/table", "internal/udpwire", "internal/wsframe"},
	"admin":                  {"bridge", "chat", "cluster", "engine", "protocol", "push", "usermgr", "internal/logging", "internal/seam"},
	"bridge":                 {"engine", "heartbeat", "protocol", "usermgr", "internal/clock", "internal/codes", "internal/contain", "internal/logging", "internal/seam", "internal/system", "internal/table"},
	"push":                   {"bridge", "engine", "protocol", "usermgr", "internal/codes", "internal/contain", "internal/logging", "internal/seam", "internal/system"},
	"presence":               {"bridge", "engine", "protocol", "usermgr", "internal/contain", "internal/logging", "internal/seam", "internal/system"},
	"chat":                   {"bridge", "engine", "presence", "protocol", "usermgr", "internal/clock", "internal/contain", "internal/logging", "internal/seam", "internal/system"},
	"chat/sqlstore":          {"chat", "chat/chatclient", "client", "presence", "protocol", "internal/chattest", "internal/system", "internal/testkit", "internal/wiretest", "rollcalltest", front},
	"chat/sqlstore/postgres": {"chat/sqlstore"},
	"chat/sqlstore/sqlite":   {"chat/sqlstore"},
	"cluster":                {"protocol", "usermgr", "engine", "bridge", "push", "internal/clock", "internal/codes", "internal/logging", "internal/seam"},
	"chat/chatclient":        {"client", "protocol", "internal/system"},
	"chat/storetest":         {"chat", "presence", "protocol"},
	"client":                 {"protocol", "internal/codes", "internal/contain", "internal/layout", "internal/system", "internal/udpwire", "internal/wsframe"},
	"metrics":                {front, "protocol", "usermgr", "engine", "bridge", "push", "metrics", "presence", "chat", "cluster", "cluster/mesh"},
	"cluster/dirtest":        {"cluster"},
	"cluster/mesh":           {"client", "cluster", "engine", "protocol", "internal/logging", "internal/system"},
	"cluster/meshtest":       {"cluster"},
	"cluster/memory":         {"cluster"},
	"cluster/redisdir":       {"cluster", "internal/logging"},
	"rollcalltest":           {front, "protocol", "usermgr", "engine", "heartbeat", "bridge", "client"},
}

// parse returns the files of a public package: its code, and its tests.
func parse(t *testing.T, pkg string) (code, tests []*ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	err := filepath.WalkDir(filepath.Join(root, pkg), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != filepath.Join(root, pkg) {
			_, public := mayImport[filepath.ToSlash(strings.TrimPrefix(path, root+string(filepath.Separator)))]
			if pkg == front || public || d.Name() == "example" { // a package of its own, or a program
				return filepath.SkipDir
			}
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if strings.HasSuffix(path, "_test.go") {
			tests = append(tests, f)
		} else {
			code = append(code, f)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return code, tests
}

// A new package is held to all that these tests say.
func TestEveryPublicPackageIsHeldAgainstThis(t *testing.T) {
	dirs, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if _, ok := mayImport[d.Name()]; ok || !d.IsDir() {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, d.Name(), "go.mod")); err == nil {
			continue // a module of its own
		}
		files, err := filepath.Glob(filepath.Join(root, d.Name(), "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(files, func(f string) bool { return !strings.HasSuffix(f, "_test.go") }) {
			t.Errorf("mayImport does not have %s", d.Name())
		}
	}
	for pkg := range mayImport {
		if code, _ := parse(t, pkg); len(code) == 0 {
			t.Errorf("mayImport has %s, which has no code", pkg)
		}
	}
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	for pkg, allowed := range mayImport {
		code, _ := parse(t, pkg)
		for _, f := range code {
			for _, i := range f.Imports {
				path, _ := strconv.Unquote(i.Path.Value)
				of, ok := strings.CutPrefix(path, module)
				if path+"/" == module {
					of, ok = front, true
				}
				if ok && !slices.Contains(allowed, of) {
					t.Errorf("%s imports %s", pkg, of)
				}
			}
		}
	}
}

func TestEveryExportedNameIsDocumented(t *testing.T) {
	for pkg := range mayImport {
		code, _ := parse(t, pkg)
		documented := false
		for _, f := range code {
			documented = documented || f.Doc != nil
			for _, d := range f.Decls {
				for _, name := range undocumented(d) {
					t.Errorf("%s.%s has no doc comment", pkg, name)
				}
			}
		}
		if !documented {
			t.Errorf("package %s has no doc comment", pkg)
		}
	}
}

// undocumented returns the exported names of a declaration that nothing is said about.
func undocumented(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil {
			recv := receiver(d.Recv.List[0].Type)
			if !ast.IsExported(recv) {
				return nil
			}
			name = recv + "." + name
		}
		if d.Name.IsExported() && d.Doc == nil {
			names = append(names, name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() {
					if d.Doc == nil && s.Doc == nil {
						names = append(names, s.Name.Name)
					}
					names = append(names, undocumentedMembers(s)...)
				}
			case *ast.ValueSpec:
				for _, n := range s.Names {
					if n.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// undocumentedMembers returns the methods of an interface, and the fields of a type that a user fills in, that nothing
// is said about. Fields of a plain record may share the type's comment, or speak for themselves.
func undocumentedMembers(s *ast.TypeSpec) (names []string) {
	var members []*ast.Field
	switch typ := s.Type.(type) {
	case *ast.InterfaceType:
		members = typ.Methods.List
	case *ast.StructType:
		if strings.HasSuffix(s.Name.Name, "Config") || s.Name.Name == "Events" {
			members = typ.Fields.List
		}
	}
	for _, f := range members {
		for _, n := range f.Names {
			if n.IsExported() && f.Doc == nil && f.Comment == nil {
				names = append(names, s.Name.Name+"."+n.Name)
			}
		}
	}
	return names
}

func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

func TestEveryPackageHasARunnableExample(t *testing.T) {
	for pkg := range mayImport {
		_, tests := parse(t, pkg)
		found := slices.Contains([]string{"chat/storetest", "cluster/dirtest", "cluster/meshtest"}, pkg) // their tests are those of the stores and meshes
		for _, f := range tests {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || !strings.HasPrefix(fn.Name.Name, "Example") {
					continue
				}
				for _, c := range f.Comments {
					inside := c.Pos() > fn.Body.Pos() && c.End() < fn.Body.End()
					found = found || inside && strings.Contains(strings.ToLower(c.Text()), "output:")
				}
				// An example of a package for tests needs a *testing.T: one of its tests runs it. Those of redisdir and
				// postgres need a server.
				found = found || slices.Contains([]string{"rollcalltest", "cluster/redisdir", "chat/sqlstore/postgres"}, pkg)
			}
		}
		if !found {
			t.Errorf("package %s has no runnable Example", pkg)
		}
	}
}

// Metrics, the store on Redis, the stores in SQL and the examples of QUIC and KCP are modules of their own, so that a program without them,
// such as examples/echo, is free of Prometheus, of a Redis client, of SQLite and a PostgreSQL client, and of transports that want a newer Go.
func TestTheMainModuleIsFreeOfPrometheusRedisSQLAndQUIC(t *testing.T) {
	for _, file := range []string{"go.mod", "go.sum"} {
		for _, name := range []string{"prometheus", "rueidis", "sqlite", "jackc/pgx", "pressly/goose", "quic-go", "kcp-go"} {
			if strings.Contains(read(t, file), name) {
				t.Errorf("%s names %s", file, name)
			}
		}
	}
}

// gnet's types stay behind the engine: nothing exported mentions them.
func TestGnetNeverShows(t *testing.T) {
	for pkg := range mayImport {
		code, _ := parse(t, pkg)
		for _, f := range code {
			for _, d := range f.Decls {
				for _, node := range exportedSignatures(d) {
					ast.Inspect(node, func(n ast.Node) bool {
						if sel, ok := n.(*ast.SelectorExpr); ok {
							if x, ok := sel.X.(*ast.Ident); ok && x.Name == "gnet" {
								t.Errorf("%s shows gnet.%s", pkg, sel.Sel.Name)
							}
						}
						return true
					})
				}
			}
		}
	}
}

// exportedSignatures returns what a user of the package can see of a declaration.
func exportedSignatures(d ast.Decl) (seen []ast.Node) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Name.IsExported() && (d.Recv == nil || ast.IsExported(receiver(d.Recv.List[0].Type))) {
			seen = append(seen, d.Type)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			s, ok := spec.(*ast.TypeSpec)
			if !ok || !s.Name.IsExported() {
				continue
			}
			st, ok := s.Type.(*ast.StructType)
			if !ok {
				seen = append(seen, s.Type)
				continue
			}
			for _, f := range st.Fields.List {
				if len(f.Names) == 0 || slices.ContainsFunc(f.Names, func(n *ast.Ident) bool { return n.IsExported() }) {
					seen = append(seen, f.Type)
				}
			}
		}
	}
	return seen
}
