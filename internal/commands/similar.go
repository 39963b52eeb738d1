package commands

// Similar returns the word of the list that the given one may be meant to be: two letters may be wrong, missing, too
// many or, as one mistake, exchanged, but half of it must be right. It is empty where there is none.
func Similar(word string, list []string) string {
	best, least := "", min(2, len(word)/2)+1
	for _, candidate := range list {
		if d := distance(word, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is that of Damerau and Levenshtein, with adjacent letters exchanged once at most.
func distance(a, b string) int {
	var before, last []int // rows of the table, the last two
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
