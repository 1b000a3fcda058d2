# Do visitors get the files that they want? A file may be cut short or empty, or a page may come in its place (an error,
# a login, the front page). The page with the link still looks fine.
#
# Replace the address, the link, the type and the sizes: the file must never be smaller than the first size or larger
# than the second. For a file that never changes, `the download should have the SHA-256 "…"` is the best check.
# stepwatch reads the file to its end and does not store it. Files above 1 GB need web.download_limit. With @browser,
# the browser clicks the link; use it for a page that creates the file by a script.
@every:15m @timeout:2m
Feature: Downloads

  Scenario: The yearbook comes whole
    Given I go to "https://www.example.org/about.html"
    When I download the file behind "Yearbook as PDF"
    Then the download should be of type "application/pdf"
    And the download should be between 100 KB and 20 MB
    And the download should take at most 30s
