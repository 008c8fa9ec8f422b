package examples_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rollcall-go/rollcall/client"
	"github.com/rollcall-go/rollcall/internal/testca"
	"github.com/rollcall-go/rollcall/internal/testkit"
)

// asked is the answer to a request to a page of live users.
func asked(t *testing.T, c *http.Client, method, url, body string, change func(*http.Request)) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Rollcall-Admin", "1")
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(b)
}

// examples/echo -admin: browsers on this machine may look, and act with the token that is printed.
func TestEchoServesAPageOfLiveUsers(t *testing.T) {
	echo := start(t, "echo", "-addr", "127.0.0.1:0", "-admin", "127.0.0.1:0")
	url, token := echo.said(t, "page of live users: "), echo.said(t, "give it the token ")
	bob := testkit.Must(client.Dial(t.Context(), echo.address(t), client.Config{UserID: "bob"}))
	defer bob.Close()
	for path, want := range map[string]string{"": "<title>Rollcall", "api/v1/user?id=bob": `"online":true`} {
		if status, text := asked(t, http.DefaultClient, "GET", url+path, "", nil); status != 200 || !strings.Contains(text, want) {
			t.Errorf("%s is answered %d: %s", path, status, text)
		}
	}
	kick := url + "api/v1/users/kick"
	if status, text := asked(t, http.DefaultClient, "POST", kick, `{"user":"bob"}`, nil); status != 403 {
		t.Errorf("a kick without the token is answered %d: %s", status, text)
	}
	status, text := asked(t, http.DefaultClient, "POST", kick, `{"user":"bob"}`, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
	if status != 200 || !strings.Contains(text, `"told"`) {
		t.Errorf("a kick is answered %d: %s", status, text)
	}
	<-bob.Done()
	echo.end(t, os.Interrupt)
	if strings.Contains(echo.stdout.String(), token) { // where -events prints what programs read
		t.Error("the token is on standard output")
	}
}

// examples/echo -events names sessions by their connections: their IDs can take them over.
func TestEchosEventsHaveNoSessionID(t *testing.T) {
	echo := start(t, "echo", "-addr", "127.0.0.1:0", "-events")
	bob := testkit.Must(client.Dial(t.Context(), echo.address(t), client.Config{UserID: "bob"}))
	_ = bob.Close()
	eventually(t, "the end is printed", func() bool { return strings.Contains(echo.stdout.String(), `"event":"disconnected"`) })
	echo.end(t, os.Interrupt)
	text := echo.stdout.String()
	if !strings.Contains(text, `"connection":1`) || regexp.MustCompile(`[0-9a-f]{8}-?[0-9a-f]{4}`).MatchString(text) {
		t.Errorf("it prints %s", text)
	}
}

// Without a password echo's page is for this machine alone; with one it is for others too, if there is TLS. The address that is printed leads to it.
func TestEchosPageNeedsAPasswordForOtherMachines(t *testing.T) {
	dir := t.TempDir()
	password, empty := filepath.Join(dir, "password"), filepath.Join(dir, "empty")
	for file, text := range map[string]string{password: "secret\n", empty: "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ca := testca.New(t)
	cert, key := ca.Files(ca.Issue("localhost"))
	secure := []string{"-tls-cert", cert, "-tls-key", key}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"-admin", ":0"}, "needs -admin-password"},
		{[]string{"-admin", "0.0.0.0:0"}, "needs -admin-password"},
		{append(secure, "-admin", ":0"), "needs -admin-password"},
		{[]string{"-admin", ":0", "-admin-password", password}, "needs -tls-cert"},
		{[]string{"-admin", "127.0.0.1:0", "-admin-password", empty}, "has no password"},
		{[]string{"-admin", "127.0.0.1:0", "-admin-password", filepath.Join(dir, "none")}, "no such file"},
	} {
		echo := start(t, "echo", append(c.args, "-addr", "127.0.0.1:0")...)
		eventually(t, fmt.Sprintf("it ends, with %v", c.args), func() bool {
			select {
			case <-echo.exited:
				return true
			default:
				return false
			}
		})
		if !strings.Contains(echo.stderr.String(), c.says) || echo.cmd.ProcessState.Success() || strings.Contains(echo.stderr.String(), "page of live users") {
			t.Errorf("with %v it says %s", c.args, echo.stderr)
		}
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool}}
	defer transport.CloseIdleConnections()
	for _, c := range []struct {
		args []string
		url  string
	}{
		{append(secure, "-admin", ":0"), "https://localhost:"},
		{append(secure, "-admin", "0.0.0.0:0"), "https://localhost:"},
		{[]string{"-admin", "127.0.0.1:0"}, "http://127.0.0.1:"},
	} {
		echo := start(t, "echo", append(c.args, "-addr", "127.0.0.1:0", "-admin-password", password)...)
		url := echo.said(t, "page of live users: ")
		if !strings.HasPrefix(url, c.url) {
			t.Errorf("with %v the page is said to be at %s", c.args, url)
		}
		for password, status := range map[string]int{"secret": 200, "wrong": 401, "": 401} {
			got, text := asked(t, &http.Client{Transport: transport}, "GET", url, "", func(r *http.Request) {
				if password != "" {
					r.SetBasicAuth("admin", password)
				}
			})
			if got != status || strings.Contains(text, "<title>Rollcall") != (status == 200) {
				t.Errorf("with %v the password %q is answered %d: %s", c.args, password, got, text)
			}
		}
		if got, text := asked(t, &http.Client{Transport: transport}, "POST", url+"api/v1/users/unban", `{"user":"bob"}`, func(r *http.Request) { r.SetBasicAuth("admin", "secret") }); got != 200 {
			t.Errorf("with %v an act is answered %d: %s", c.args, got, text)
		}
		echo.end(t, os.Interrupt)
		if said := echo.stdout.String() + echo.stderr.String(); strings.Contains(said, "token") || strings.Contains(said, "secret") {
			t.Errorf("with %v it says %s", c.args, said)
		}
	}
}

// The token of a page is printed once, when the program starts, by each program that makes one. It is in no answer, whatever is asked for and how
// often, and in nothing else that the program prints or logs.
func TestTheTokenOfAPageIsPrintedOnce(t *testing.T) {
	for _, c := range []struct {
		program, page, server string // what is printed before the page's address, and before the server's
		args                  []string
	}{
		{"echo", "page of live users: ", "listening on ", []string{"-addr", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-events"}},
		{"quickstart", "who is online: ", "stays up on ", []string{"-listen", "localhost:0"}},
	} {
		t.Run(c.program, func(t *testing.T) {
			p := start(t, c.program, c.args...)
			printed := func() string { return p.stdout.String() + p.stderr.String() }
			after := func(text string) (rest string) {
				eventually(t, "it says "+text, func() bool {
					_, said, _ := strings.Cut(printed(), text)
					line, _, whole := strings.Cut(said, "\n")
					rest, _, _ = strings.Cut(line, ". ")
					return whole
				})
				return rest
			}
			url, token, addr := after(c.page), after("give it the token "), after(c.server)
			if len(token) < 26 {
				t.Fatalf("the token is %q", token)
			}
			bob := testkit.Must(client.Dial(t.Context(), addr, client.Config{UserID: "bob"}))
			defer bob.Close()
			var answers strings.Builder
			ask := func(method, path, body, bearer string) (status int) {
				r := testkit.Must(http.NewRequestWithContext(t.Context(), method, url+path, strings.NewReader(body)))
				r.Header.Set("Rollcall-Admin", "1")
				r.Header.Set("Content-Type", "application/json")
				if bearer != "" {
					r.Header.Set("Authorization", "Bearer "+bearer)
				}
				res := testkit.Must(http.DefaultClient.Do(r))
				defer res.Body.Close()
				answers.Write(testkit.Must(httputil.DumpResponse(res, true)))
				return res.StatusCode
			}
			for _, bearer := range []string{"", token, "", token[1:]} { // the page is loaded again, and by one who has the token
				for _, path := range []string{"", "app.js", "style.css", "icon.svg", "none", "api/v1/openapi.json", "api/v1/overview", "api/v1/sessions", "api/v1/sessions?q=bob",
					"api/v1/sessions?top=age", "api/v1/user?id=bob", "api/v1/conns/1", "api/v1/closed", "api/v1/rooms", "api/v1/nodes", "api/v1/none"} {
					if status := ask("GET", path, "", bearer); path == "" && status != 200 {
						t.Errorf("the page is answered %d", status)
					}
				}
			}
			stream := testkit.Must(http.Get(url + "api/v1/events"))
			defer stream.Body.Close()
			kick := func(bearer string) int { return ask("POST", "api/v1/users/kick", `{"user":"bob"}`, bearer) }
			if none, wrong, right := kick(""), kick(token[1:]), kick(token); none != 403 || wrong != 403 || right != 200 {
				t.Errorf("a kick is answered %d without the token, %d with a wrong one, and %d with it", none, wrong, right)
			}
			<-bob.Done()
			events := bufio.NewReader(stream.Body)
			for line := ""; !strings.Contains(line, "KickedOut"); answers.WriteString(line) {
				line = testkit.Must(events.ReadString('\n'))
			}
			p.end(t, os.Interrupt)
			if n := strings.Count(printed(), token); n != 1 {
				t.Errorf("the token is printed %d times", n)
			}
			if all := answers.String(); strings.Contains(all, token) || !strings.Contains(all, "<title>Rollcall") || !strings.Contains(all, "bob") {
				t.Errorf("the token is in an answer, or the answers are not those of the page: %s", all)
			}
		})
	}
}
