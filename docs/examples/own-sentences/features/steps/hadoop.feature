Feature: Hadoop

  @step
  Scenario: I navigate to dfs path "<path>" on "<host>"
    When I go to "http://<host>:50070/dfshealth.jsp"
    And I follow "Browse the filesystem"
    And I fill in "dir" with "<path>"
    And I press "go"

  @step
  Scenario: the directories should be "<state>"
    All directories, and at least one: a table without rows is not good news.
    Then there should be at least 1 element "//table[.//th='Storage Directory']//td[3]"
    And there should be 0 elements "//table[.//th='Storage Directory']//td[3][normalize-space() != '<state>']"
