package examples_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
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
	if strings.Contains(echo.stdout.String(), token) {
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

func TestEchosPageNeedsAPasswordForOtherMachines(t *testing.T) {
	dir := t.TempDir()
	password, empty := filepath.Join(dir, "password"), filepath.Join(dir, "empty")
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	ca := testca.New(t)
	issued := ca.Issue("127.0.0.1")
	for file, text := range map[string][]byte{password: []byte("secret\n"), empty: nil,
		cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issued.Certificate[0]}),
		key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: testkit.Must(x509.MarshalPKCS8PrivateKey(issued.PrivateKey))})} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for want, args := range map[string][]string{"needs -admin-password": {"-admin", ":0"}, "needs -tls-cert": {"-admin", ":0", "-admin-password", password},
		"has no password": {"-admin", "127.0.0.1:0", "-admin-password", empty}} {
		echo := start(t, "echo", append(args, "-addr", "127.0.0.1:0")...)
		<-echo.exited
		if !strings.Contains(echo.stderr.String(), want) || echo.cmd.ProcessState.Success() {
			t.Errorf("with %v it says %s", args, echo.stderr)
		}
	}
	echo := start(t, "echo", "-addr", "127.0.0.1:0", "-admin", ":0", "-admin-password", password, "-tls-cert", cert, "-tls-key", key)
	_, port, _ := strings.Cut(echo.said(t, "page of live users: https://"), "]:")
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint: the certificate is the test's
	defer transport.CloseIdleConnections()
	c := &http.Client{Transport: transport}
	for password, status := range map[string]int{"secret": 200, "wrong": 401} {
		if got, _ := asked(t, c, "GET", "https://127.0.0.1:"+port+"api/v1/overview", "", func(r *http.Request) { r.SetBasicAuth("admin", password) }); got != status {
			t.Errorf("the password %s is answered %d", password, got)
		}
	}
}
