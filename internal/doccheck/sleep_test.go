package doccheck

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"path"
	"strings"
	"testing"
)

// sleepers are the functions of tests that may sleep in real time, because the pause is what they are for.
var sleepers = map[string]string{
	"bridge.TestAMessageThatWaitsIsNoIdleness": "ten messages are to take longer than IdleTimeout together",
	"bridge.meter.work":                        "logons are to take so long that others queue",
	"bridge.newSlowUplink":                     "the pause makes the rate of a slow line",
	"bridge.staysStuck":                        "the loop is to be stuck for longer than a timeout",
	"bridge.storm":                             "handlers take a random time, so that each run meets others",
	"client.TestManyGoroutinesShareAClientWhileConnectionsBreak": "a request that fails at once is not repeated at once, which would take the processor from the reconnecting",
	"cluster/redisdir.lasts":                                     "a fault is to go on for a time",
	"cluster/redisdir.stand.storm":                               "a client that was refused waits before it comes again",
	"engine.mixClient.hear":                                      "this client reads slowly, so that messages wait for it",
	"engine.stuckLoop.whileStuck":                                "the loop is to be stuck for longer than a timeout",
	"internal/soak.child.thawAfter":                              "the process is to be stopped for longer than a timeout",
	"internal/soak.healthy.phase":                                "what users meet with in this time is measured",
	"internal/soak.takes":                                        "the story tells how long a deed or a handler takes",
	"push.takes":                                                 "the seed draws how long a step takes",
}

// A test does not guess how long something takes. It waits for a condition with testkit.Eventually, or a loop looks, or acts,
// again after each pause. Other pauses in real time stand in sleepers with their reason. In a synctest bubble time is fake, and
// a sleep is exact. A benchmark measures, and may wait.
func TestNoTestGuessesATime(t *testing.T) {
	seen := map[string]bool{}
	goFiles(t, func(name string, text []byte) {
		if !strings.HasSuffix(name, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || isInBubble(f, fn) || isBenchmark(fn) || !sleeps(fn) {
				continue
			}
			id := path.Dir(name) + "." + fn.Name.Name
			if fn.Recv != nil {
				id = path.Dir(name) + "." + receiver(fn.Recv.List[0].Type) + "." + fn.Name.Name
			}
			seen[id] = true
			if sleepers[id] == "" {
				t.Errorf("%s sleeps: let it wait for a condition (testkit.Eventually), or say in sleepers why the pause is no guess", id)
			}
		}
	})
	for id := range sleepers {
		if !seen[id] {
			t.Errorf("sleepers has %s, which does not sleep", id)
		}
	}
}

// isInBubble reports whether fn runs in a synctest bubble: a test that uses synctest, or a helper in a file that does.
func isInBubble(file *ast.File, fn *ast.FuncDecl) bool {
	if strings.HasPrefix(fn.Name.Name, "Test") {
		return uses(fn, "synctest")
	}
	return uses(file, "synctest")
}

func isBenchmark(fn *ast.FuncDecl) bool {
	p := fn.Type.Params.List
	return len(p) > 0 && types.ExprString(p[0].Type) == "*testing.B"
}

// sleeps reports whether fn calls time.Sleep elsewhere than as the step of a loop.
func sleeps(fn *ast.FuncDecl) (found bool) {
	steps := map[ast.Node]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		if loop, ok := n.(*ast.ForStmt); ok && loop.Post != nil {
			steps[loop.Post] = true
		}
		call, ok := n.(*ast.CallExpr)
		found = found || ok && types.ExprString(call.Fun) == "time.Sleep"
		return !steps[n]
	})
	return found
}

// uses reports whether something of a package is named in n.
func uses(n ast.Node, pkg string) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		found = found || ok && types.ExprString(s.X) == pkg
		return true
	})
	return found
}
