package report

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// Chart is a picture of bars, from the longest to the shortest as they are given.
type Chart struct {
	Title string
	Note  string // below the bars: what is measured, and whether longer is better
	Bars  []Bar
}

// Bar is one bar of a chart.
type Bar struct {
	Name  string
	Value float64
	Text  string // the value, for people
	Ours  bool   // drawn in the colour of the project
}

const (
	chartWidth = 720
	barLeft    = 190
	barRight   = 90 // room for the text behind the longest bar
	barHeight  = 22
	barStep    = 32
	chartTop   = 52
)

// SVG draws the chart. It is readable on light and on dark pages.
func (c Chart) SVG() string {
	longest := 0.0
	for _, bar := range c.Bars {
		longest = max(longest, bar.Value)
	}
	height := chartTop + barStep*len(c.Bars) + 28
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-label="%s">
<style>
text { font: 14px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 16px }
.note { font-size: 12px; fill: #59636e }
.bar { fill: #9aa4b0 }
.ours { fill: #0969da }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .note { fill: #9198a1 } .bar { fill: #59636e } .ours { fill: #4493f8 } }
</style>
<text class="title" x="12" y="28">%s</text>
`, chartWidth, height, chartWidth, height, escape(c.Title), escape(c.Title))
	for i, bar := range c.Bars {
		y := chartTop + barStep*i
		width := 0.0
		if longest > 0 {
			width = bar.Value / longest * (chartWidth - barLeft - barRight)
		}
		class := "bar"
		if bar.Ours {
			class = "bar ours"
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="3"/><text x="%.1f" y="%d">%s</text>
`,
			barLeft-10, y+barHeight-6, escape(bar.Name), class, barLeft, y, max(width, 1), barHeight,
			barLeft+width+8, y+barHeight-6, escape(bar.Text))
	}
	fmt.Fprintf(&b, "<text class=\"note\" x=\"12\" y=\"%d\">%s</text>\n</svg>\n", height-12, escape(c.Note))
	return b.String()
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}
