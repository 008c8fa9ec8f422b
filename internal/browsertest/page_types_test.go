package browsertest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/internal/testkit"
)

// fromNPM returns a file of an npm package that the tests need, or leaves the test out where make browser has not fetched it.
func fromNPM(t *testing.T, name string) string {
	t.Helper()
	path := testkit.Must(filepath.Abs("testdata/npm/node_modules/" + name))
	if _, err := os.Stat(path); err != nil {
		testkit.LeaveOut(t, "%s is missing: run make browser, which fetches it with npm", name)
	}
	return path
}

// schema is as much of a JSON Schema as the document of the API uses.
type schema struct {
	Ref        string `json:"$ref"`
	Type       string
	Enum       []string
	Properties map[string]schema
	Required   []string
	Items      *schema
	AnyOf      []schema
	Others     json.RawMessage `json:"additionalProperties"`
}

// typeOf returns a schema as a type of TypeScript.
func typeOf(s *schema) string {
	switch {
	case s == nil:
		return "never"
	case s.Ref != "":
		return globalName(s.Ref[strings.LastIndex(s.Ref, "/")+1:])
	case s.AnyOf != nil:
		var all []string
		for _, one := range s.AnyOf {
			all = append(all, typeOf(&one))
		}
		return strings.Join(all, " | ")
	case s.Enum != nil:
		return fmt.Sprintf(`"%s"`, strings.Join(s.Enum, `" | "`))
	case s.Type == "array":
		return "(" + typeOf(s.Items) + ")[]"
	case s.Type == "integer":
		return "number"
	case s.Type == "": // no JSON
		return "unknown"
	case s.Type != "object":
		return s.Type
	}
	var b strings.Builder
	b.WriteString("{ ")
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		p, optional := s.Properties[name], "?"
		if slices.Contains(s.Required, name) {
			optional = ""
		}
		fmt.Fprintf(&b, "%q%s: %s; ", name, optional, typeOf(&p))
	}
	var others schema
	if s.Others != nil && json.Unmarshal(s.Others, &others) == nil {
		fmt.Fprintf(&b, "[name: string]: %s; ", typeOf(&others))
	}
	return b.String() + "}"
}

// globalName is the name of a schema's type. Browsers have an Event, a Node and an Error of their own.
func globalName(name string) string {
	if own, ok := map[string]string{"Event": "UserEvent", "Node": "ClusterNode", "Error": "Failure"}[name]; ok {
		return own
	}
	return name
}

// declarations returns the types of the API, from its document: of everything that is answered, and of each route's parameters and body.
func declarations(t *testing.T) string {
	t.Helper()
	var d struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				Name, In string
				Required bool
				Schema   schema
			}
			RequestBody *struct {
				Content map[string]struct{ Schema schema }
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema schema }
			}
		}
		Components struct{ Schemas map[string]schema }
	}
	if err := json.Unmarshal(testkit.Must(os.ReadFile("../../admin/openapi.json")), &d); err != nil {
		t.Fatal(err)
	}
	var b, answers, queries, bodies strings.Builder
	for name, s := range d.Components.Schemas {
		fmt.Fprintf(&b, "type %s = %s\n", globalName(name), typeOf(&s))
	}
	for path, methods := range d.Paths {
		for _, op := range methods {
			path = strings.TrimPrefix(path, "/")
			query := schema{Type: "object", Properties: make(map[string]schema)}
			for _, p := range op.Parameters {
				if p.In == "header" {
					continue
				}
				if query.Properties[p.Name] = p.Schema; p.Required {
					query.Required = append(query.Required, p.Name)
				}
			}
			var body *schema
			if op.RequestBody != nil {
				s := op.RequestBody.Content["application/json"].Schema
				body = &s
			}
			answer := op.Responses["200"].Content["application/json"].Schema
			fmt.Fprintf(&answers, "%q: %s\n", path, typeOf(&answer))
			fmt.Fprintf(&queries, "%q: %s\n", path, typeOf(&query))
			fmt.Fprintf(&bodies, "%q: %s\n", path, typeOf(body))
		}
	}
	fmt.Fprintf(&b, "interface Answers {\n%s}\ninterface Queries {\n%s}\ninterface Bodies {\n%s}\n", answers.String(), queries.String(), bodies.String())
	return b.String()
}

// The script of the page of live users keeps to its types, and to those of the API as openapi.json has them.
func TestTheTypesOfThePage(t *testing.T) {
	tsc := fromNPM(t, "typescript/bin/tsc")
	node, err := exec.LookPath("node")
	if err != nil {
		testkit.LeaveOut(t, "node is missing: install it (apt-get install nodejs npm)")
	}
	types := filepath.Join(t.TempDir(), "api.d.ts")
	if err := os.WriteFile(types, []byte(declarations(t)), 0o644); err != nil {
		t.Fatal(err)
	}
	check := func(script string) ([]byte, error) {
		return exec.CommandContext(t.Context(), node, tsc, "--allowJs", "--checkJs", "--noEmit", "--strict", "--useUnknownInCatchVariables", "false", "--noUnusedLocals", "--pretty", "false",
			"--target", "esnext", "--module", "esnext", "--moduleDetection", "force", "--types", "", "--ignoreConfig", types, "../../admin/page.d.ts", script).CombinedOutput()
	}
	if out, err := check("../../admin/page/app.js"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// What is misspelt is found, so that the types are in force.
	text := string(testkit.Must(os.ReadFile("../../admin/page/app.js")))
	broken := strings.Replace(text, "s.logonTime", "s.logOnTime", 1)
	script := filepath.Join(t.TempDir(), "broken.js")
	if err := os.WriteFile(script, []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := check(script); broken == text || err == nil || !strings.Contains(string(out), "logOnTime") {
		t.Errorf("a misspelt name is not found: %v\n%s", err, out)
	}
}
