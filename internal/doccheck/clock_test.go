package doccheck

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// wallTime are the files that may use the time of the system's clock, which can be set: what they tell is read by people, or
// by another machine.
var wallTime = []string{
	"protocol/push.go",             // when a push was made
	"protocol/presence.go",         // when a user came and went, as another machine tells it
	"internal/clock/boot_linux.go", // whether the machine has slept: then the kernel is asked
	"usermgr/clock.go",             // SessionInfo's times
	"usermgr/session.go",           // the same
	"usermgr/lookup.go",            // the same
	"usermgr/carry.go",             // the same, for another machine
	"client/logon.go",              // a deadline long ago
	"cluster/mark.go",              // the end of a mark, for other machines
	"cluster/bar.go",               // the end of a bar, for other machines
	"presence/abroad.go",           // which of two choices on two machines is the later one
	"presence/times.go",            // when a user came and went, as other machines read it
	"chat/clock.go",                // when a message was stored, as other processes and later ones read it
	"chat/sqlstore/clock.go",       // the same, in a database
	"chat/chatclient/clock.go",     // the same, as the server tells it
	"cluster/unasked.go",           // when another machine has made a push
}

// losesMonotonic are the methods and functions of package time that leave nothing of a time but what the system's clock said.
var losesMonotonic = []string{"Unix", "UnixMilli", "UnixMicro", "UnixNano", "Date", "Truncate"}

// Rule 25: setting the system's clock moves no deadline, no rate and no watch: durations are measured by what is monotonic.
func TestNothingIsMeasuredByTheSystemsClock(t *testing.T) {
	dirs := []string{"internal/clock", "internal/table"}
	for pkg := range mayImport {
		dirs = append(dirs, pkg)
	}
	used := make(map[string]bool)
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			name := dir + "/" + filepath.Base(path)
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || !usesWallTime(call) {
					return true
				}
				used[name] = true
				if !slices.Contains(wallTime, name) {
					t.Errorf("%s: the time of the system's clock, which can be set; internal/clock tells how long something took",
						fset.Position(call.Pos()))
				}
				return true
			})
		}
	}
	for _, name := range wallTime {
		if !used[name] {
			t.Errorf("wallTime has %s, which uses none", name)
		}
	}
}

// usesWallTime reports whether a call makes a time without a monotonic reading, or takes it off.
func usesWallTime(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	if f.Sel.Name == "Round" && len(call.Args) == 1 { // of a Duration there is no rounding to 0
		zero, ok := call.Args[0].(*ast.BasicLit)
		n, err := strconv.Atoi(valueOf(zero))
		return ok && err == nil && n == 0
	}
	return slices.Contains(losesMonotonic, f.Sel.Name)
}

func valueOf(l *ast.BasicLit) string {
	if l == nil {
		return ""
	}
	return l.Value
}
