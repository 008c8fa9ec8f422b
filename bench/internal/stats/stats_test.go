package stats

import "testing"

func TestQuartiles(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Quartiles
	}{
		{nil, Quartiles{}},
		{[]float64{7}, Quartiles{7, 7, 7}},
		{[]float64{5, 1, 3, 2, 4}, Quartiles{2, 3, 4}},
		{[]float64{4, 1, 3, 2}, Quartiles{1.75, 2.5, 3.25}},
	} {
		if got := Of(c.values); got != c.want {
			t.Errorf("Of(%v) is %v, want %v", c.values, got, c.want)
		}
	}
}

func TestRatiosAreOfNeighbours(t *testing.T) {
	// The second pair of runs was disturbed, both of them.
	got := Ratios([]float64{90, 45, 91}, []float64{100, 50, 100})
	if got.Median != 0.9 {
		t.Errorf("the median ratio is %v, want 0.9", got.Median)
	}
}
