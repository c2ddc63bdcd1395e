package config

import "fmt"

// unknown says that a key does not exist, and which one may have been meant.
func unknown(where, given string, candidates []string) error {
	if best := nearest(given, candidates); best != "" {
		return fmt.Errorf("%s: unknown key %q; did you mean %q?", where, given, best)
	}
	return fmt.Errorf("%s: unknown key %q", where, given)
}

// nearest returns the candidate with the fewest edits to s, if they are few.
func nearest(s string, candidates []string) string {
	best, fewest := "", max(2, len(s)/3)+1
	for _, c := range candidates {
		if d := distance(s, c); d < fewest {
			best, fewest = c, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
