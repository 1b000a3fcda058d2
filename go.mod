module github.com/stepwatch/stepwatch

go 1.26.0
