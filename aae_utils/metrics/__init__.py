"""Measures of the paper: tensors in, numbers out. No module here knows a model.

parzen: log-likelihood of test images under a Parzen window (section 3, Table 1)
clustering: labels of clusters, their error, mutual information (section 6, Table 3)
matching: how well q(z) matches p(z) (section 2), and the regions of the labels (section 2.3)
classification: error, what a code says about the label, a reader of digits (sections 4 to 6)
reconstruction: squared error per pixel, nearest training images (section 2, Figure 5)
table: what each number is called, and its unit
inputs: `EvaluationError` and the checks that all of them share

Errors are percentages, likelihoods are nats.
"""
