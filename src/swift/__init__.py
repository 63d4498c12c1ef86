"""The life of a large model on one street: Recipe -> Plan -> Run -> Checkpoint -> Engine.

Layers, each importing only from those below it (checked by `make imports`):

    cli                            verbs, flags, help
    run                            launch, train, the loop
    plan                           Recipe + facts + world -> Plan
    checkpoint                     a folder that knows where it comes from
    recipe                         what the user said
    method | parallel              the loss | the placement
    optimizer                      the update
    tuner                          which weights are trained
    seam                           Batch, Outputs, Terms: what crosses between them
    model | dataset                weights and facts | rows to Samples to ids
    chat                           messages and the model's own template
    core                           errors, registries, schema, files, events
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
