"""The systems that `gen3d train encoder` trains: for each its networks, its batches, its loss and its file.

The networks and the loss are one module, so that one process trains it as several do: features of all processes are
gathered before they are compared, and a batch of two processes gives the gradient of one twice as large. Beyond the
papers, a text that is another object's as well, as "a chair" is of every chair, counts as no negative of that object.
"""
