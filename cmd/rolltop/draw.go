package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

type traffic struct{ Messages, Bytes uint64 }

// look is what was asked for at one moment.
type look struct {
	overviewText, sessionsText json.RawMessage
	nodesText                  json.RawMessage // nil without a cluster
	overview                   struct {
		Has             []string
		At              time.Time
		Users, Sessions int
		Logons          uint64
		Ended           map[string]uint64
		Engines         []struct {
			InboundQueue, OutboundQueue    int64
			Stalls, HandlerPanics          uint64
			Open, Bound, Handshaking, Bans int
		}
		Minute struct {
			Logons, InMessages, InBytes, OutMessages, OutBytes, Dropped []float64
			Ends                                                        map[string][]float64
		}
	}
	nodes struct {
		Nodes []struct {
			Name            string
			Users, Sessions int
			LeaseLeft       float64
			StoreLost       bool
		}
		Missing []string
	}
	list struct {
		Sessions []struct {
			User, Address, Via     string
			Conn                   uint64
			Device                 uint16
			LogonTime, LastMessage time.Time
			In, Out, Dropped       traffic
			WaitingIn, WaitingOut  int64
			Trouble                []string
		}
		Whole bool
	}
}

// draw returns a look as text.
func (l *look) draw(top string, rows int) string {
	var b strings.Builder
	o, m := &l.overview, &l.overview.Minute
	var open, bound, bans int
	var in, out int64
	var stalls, panics uint64
	for _, e := range o.Engines {
		open, bound, bans, in, out = open+e.Open, bound+e.Bound, bans+e.Bans, in+e.InboundQueue, out+e.OutboundQueue
		stalls, panics = stalls+e.Stalls, panics+e.HandlerPanics
	}
	ends := 0.0
	for _, rate := range m.Ends {
		ends += mean(rate)
	}
	fmt.Fprintf(&b, "%s  %d users, %d sessions; %d connections, %d let in\n", o.At.Local().Format(time.TimeOnly), o.Users, o.Sessions, open, bound)
	fmt.Fprintf(&b, "log-ons %.1f/s  ends %.1f/s  in %.0f/s %s/s  out %.0f/s %s/s  dropped %.1f/s\n", mean(m.Logons), ends, mean(m.InMessages),
		size(mean(m.InBytes)), mean(m.OutMessages), size(mean(m.OutBytes)), mean(m.Dropped))
	fmt.Fprintf(&b, "waits: %s to be handled, %s to be sent  banned addresses %d  stuck loops %d  panics %d\n", size(float64(in)), size(float64(out)), bans, stalls, panics)
	var why []string
	for _, code := range slices.Sorted(maps.Keys(o.Ended)) {
		why = append(why, fmt.Sprintf("%s %d", clean(code, 30), o.Ended[code]))
	}
	fmt.Fprintf(&b, "ended: %s\n", strings.Join(why, ", "))
	if l.nodesText != nil {
		l.drawNodes(&b)
	}
	fmt.Fprintln(&b)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "USER\tADDRESS\tVIA\tDEVICE\tONLINE\tIDLE\tIN\tOUT\tDROPPED\tWAITS\tTROUBLE")
	for i := range l.list.Sessions {
		s := &l.list.Sessions[i]
		if i == rows {
			break
		}
		address := s.Address
		if address == "" {
			address = fmt.Sprint("#", s.Conn)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%d %s\t%d %s\t%d\t%s\t%s\n", clean(s.User, 32), clean(address, 47), clean(s.Via, 8), s.Device,
			span(o.At.Sub(s.LogonTime)), span(o.At.Sub(s.LastMessage)), s.In.Messages, size(float64(s.In.Bytes)), s.Out.Messages, size(float64(s.Out.Bytes)),
			s.Dropped.Messages, size(float64(s.WaitingIn+s.WaitingOut)), clean(strings.Join(s.Trouble, ","), 40))
	}
	_ = t.Flush() // a strings.Builder takes everything
	if !l.list.Whole {
		fmt.Fprintln(&b, "not all sessions could be looked at in time")
	}
	if len(l.list.Sessions) == 0 {
		fmt.Fprintf(&b, "no session has any by the order %s\n", clean(top, 20))
	}
	return b.String()
}

// drawNodes writes a line about the nodes of the cluster, and one about those that did not answer.
func (l *look) drawNodes(b *strings.Builder) {
	var all, silent []string
	for _, n := range l.nodes.Nodes {
		lease := "lease " + span(time.Duration(n.LeaseLeft*float64(time.Second)))
		if n.StoreLost {
			lease = "the store is lost"
		}
		all = append(all, fmt.Sprintf("%s %d users, %d sessions, %s", clean(n.Name, 32), n.Users, n.Sessions, lease))
	}
	fmt.Fprintf(b, "nodes: %s\n", strings.Join(all, "; "))
	for _, name := range l.nodes.Missing {
		silent = append(silent, clean(name, 32))
	}
	if len(silent) > 0 {
		fmt.Fprintf(b, "no answer from: %s\n", strings.Join(silent, ", "))
	}
}

// clean returns a text of others of at most so many characters, in which nothing is invisible or moves the cursor: what is no letter, digit,
// sign or plain space is written as its number.
func clean(text string, most int) string {
	var b strings.Builder
	n := 0
	for _, r := range text {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		if unicode.IsPrint(r) && r != unicode.ReplacementChar {
			b.WriteRune(r)
			continue
		}
		fmt.Fprintf(&b, "\\u{%04X}", r)
	}
	return b.String()
}

// writeJSON writes a value as a line of JSON. It may go to a terminal, so that what clean writes as a number is escaped, as JSON has it.
func writeJSON(out io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var line []byte
	for _, r := range string(text) {
		if unicode.IsPrint(r) {
			line = utf8.AppendRune(line, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			line = fmt.Appendf(line, "\\u%04x", unit)
		}
	}
	_, err = out.Write(append(line, '\n'))
	return err
}

// mean is the mean of the last ten numbers.
func mean(all []float64) float64 {
	all = all[max(0, len(all)-10):]
	if len(all) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range all {
		sum += v
	}
	return sum / float64(len(all))
}

func size(n float64) string {
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if n < 1000 {
			if unit == "B" || n >= 100 {
				return fmt.Sprintf("%.0f %s", n, unit)
			}
			return fmt.Sprintf("%.1f %s", n, unit)
		}
		n /= 1000
	}
	return fmt.Sprintf("%.1f TB", n)
}

func span(d time.Duration) string {
	d = max(d, 0).Round(time.Second)
	switch {
	case d < time.Hour:
		return d.String()
	case d < 24*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}
