from leankeras.cli import main

main()
