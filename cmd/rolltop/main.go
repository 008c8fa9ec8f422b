// Rolltop shows the users of a server in a terminal, drawn anew each second. It asks the page of live users that package admin serves:
//
//	go run ./cmd/rolltop -url http://127.0.0.1:8080/
//	go run ./cmd/rolltop -url https://example.com/admin/ -user olga -password-file secret -top waiting
//	go run ./cmd/rolltop -url http://127.0.0.1:8080/ -once -json
//
// Ctrl-C ends it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "rolltop:", clean(err.Error(), 500))
		os.Exit(1)
	}
}

// source is the page that is asked.
type source struct {
	url, user, password string
	client              http.Client
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("rolltop", flag.ContinueOnError)
	src := source{client: http.Client{Timeout: 15 * time.Second}}
	flags.StringVar(&src.url, "url", "http://127.0.0.1:8080/", "where the page of live users is")
	flags.StringVar(&src.user, "user", "", "the user, where the page asks for a password")
	file := flags.String("password-file", "", "file with the password")
	top := flags.String("top", "out", "the order: in, out, dropped, waiting or age")
	rows := flags.Int("n", 20, "how many sessions are shown, 50 at most")
	every := flags.Duration("every", time.Second, "how often it is drawn anew")
	once := flags.Bool("once", false, "print once, and end")
	asJSON := flags.Bool("json", false, "print JSON, a line each time: {\"overview\", \"sessions\"}, with \"nodes\" in a cluster")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *file != "" {
		text, err := os.ReadFile(*file)
		if err != nil {
			return err
		}
		src.password = strings.TrimSpace(string(text))
	}
	if !strings.HasSuffix(src.url, "/") {
		src.url += "/"
	}
	defer src.client.CloseIdleConnections()
	ticks := time.NewTicker(max(*every, 100*time.Millisecond))
	defer ticks.Stop()
	for {
		s, err := src.look(ctx, *top)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && *once:
			return err
		case err != nil && *asJSON:
			err = writeJSON(out, map[string]string{"error": err.Error()})
		case *asJSON:
			all := map[string]json.RawMessage{"overview": s.overviewText, "sessions": s.sessionsText}
			if s.nodesText != nil {
				all["nodes"] = s.nodesText
			}
			err = writeJSON(out, all)
		default:
			text := ""
			if !*once {
				text = "\x1b[H\x1b[2J"
			}
			if err != nil { // the server may come back
				text += "rolltop: " + clean(err.Error(), 500) + "\n"
			} else {
				text += s.draw(*top, *rows)
			}
			_, err = io.WriteString(out, text)
		}
		if err != nil || *once {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
	}
}

// maxAnswer limits an answer, so that a wrong URL costs no memory.
const maxAnswer = 16 << 20

// get asks for a part of the API.
func (s *source) get(ctx context.Context, path string) (json.RawMessage, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"api/v1/"+path, nil)
	if err != nil {
		return nil, err
	}
	if s.user != "" {
		r.SetBasicAuth(s.user, s.password)
	}
	res, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	var failure struct{ Error string }
	if res.StatusCode != http.StatusOK {
		_ = json.Unmarshal(text, &failure) // without JSON the status has to do
		return nil, fmt.Errorf("the server answers %s: %s", res.Status, failure.Error)
	}
	if !json.Valid(text) {
		return nil, errors.New("the answer is no JSON: is the URL that of a page of live users?")
	}
	return text, nil
}

// look asks for what is shown.
func (s *source) look(ctx context.Context, top string) (v look, err error) {
	if v.overviewText, err = s.get(ctx, "overview"); err != nil {
		return v, err
	}
	if err = json.Unmarshal(v.overviewText, &v.overview); err != nil {
		return v, err
	}
	if v.sessionsText, err = s.get(ctx, "sessions?top="+top); err != nil {
		return v, err
	}
	if err = json.Unmarshal(v.sessionsText, &v.list); err != nil || !slices.Contains(v.overview.Has, "cluster") {
		return v, err
	}
	if v.nodesText, err = s.get(ctx, "nodes"); err != nil {
		return v, err
	}
	return v, json.Unmarshal(v.nodesText, &v.nodes)
}
