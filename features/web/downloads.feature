# Do visitors get the files that they come for? A file that is cut short, empty, or a page in its place (an error, a login, the
# front page) is seen by nobody who looks at the page that offers it alone.
#
# Replace the address, the link, the type and the sizes: the lower one is what the file never falls below, the upper one what
# it never grows to. A file that never changes is held best by `the download should have the SHA-256 "…"`. It is read to its
# end and kept nowhere; larger ones than 1 GB need web.download_limit. With @browser the link is clicked, which a page needs
# that makes its file by a script.
@every:15m @timeout:2m
Feature: Downloads

  Scenario: The yearbook comes whole
    Given I go to "https://www.example.org/about.html"
    When I download the file behind "Yearbook as PDF"
    Then the download should be of type "application/pdf"
    And the download should be between 100 KB and 20 MB
    And the download should take at most 30s
