"""Turn trained PyTorch modules and scikit-learn estimators into ONNX files proofml can take.

In the files every dimension is fixed, the leading one is a batch of 1, and no data is external.
The same weights and the same package versions give the same bytes, so that the digest of the file
can stand for the model. Nothing here is needed to prove or to verify; the packages it uses come
with the extra `proofml[torch]` and are imported inside the functions.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from proofml.errors import BackendUnavailable, UsageError

Array: TypeAlias = NDArray[Any]
Trees: TypeAlias = Literal["auto", "onnx-ml", "tensor"]
Output: TypeAlias = Literal["probabilities", "decision"]

#: ONNX operator sets that every supported exporter can write.
MIN_OPSET, MAX_OPSET = 13, 18

_DTYPES = ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool")
_IR_VERSION = 8
_ML_OPSET = 3
_TREE_OPS = ("TreeEnsemble", "TreeEnsembleClassifier", "TreeEnsembleRegressor")
#: Base classes of tree models, by name so that no package has to be imported to ask.
_TREE_CLASSES = {
    "BaseDecisionTree",
    "BaseForest",
    "BaseGradientBoosting",
    "BaseHistGradientBoosting",
}
#: ai.onnx.ml operators that skl2onnx can spell with standard operators instead.
_AVOIDED_OPS = {"LinearClassifier", "LinearRegressor", "Normalizer", "Scaler"}


def export_torch(
    module: Any,
    example_inputs: Mapping[str, Array] | Sequence[Array],
    path: str | Path,
    *,
    output_names: Sequence[str] | None = None,
    opset: int = 17,
) -> Path:
    """Write `module`, traced in evaluation mode on `example_inputs`, as an ONNX file.

    The trace fixes everything that depends on shapes; control flow that depends on values is
    frozen as the example took it (PyTorch warns with a `TracerWarning`).

    Args:
        module: a `torch.nn.Module` with tensor inputs and one tensor or a sequence of tensors as
            output; its training mode is left as it was.
        example_inputs: one array [1, ...] per input. A mapping names the inputs; its keys are
            matched to the parameters of `forward` by name, or by position where no key is the
            name of one. The inputs of a sequence are called `input`, or `input_0`, `input_1`, ...
        path: file to write; its folder must exist.
        output_names: names of the outputs; by default `output`, or `output_0`, `output_1`, ...
        opset: operator set, 13 to 18.

    Returns:
        `path`.

    Raises:
        UsageError: a wrong argument, or a module that PyTorch cannot export.
        BackendUnavailable: PyTorch is not installed.
    """
    where = "export_torch"
    torch = _load("torch", where)
    target = _target(path, where)
    _check_opset(opset, where)
    if not isinstance(module, torch.nn.Module):
        raise UsageError(
            f"{where}: module: expected a torch.nn.Module, got {type(module).__name__}; "
            "wrap a function in a module whose forward calls it"
        )
    inputs = _named_inputs(module, example_inputs, where)
    _atomic_write(target, _trace(torch, module, inputs, output_names, opset, where))
    return target


def export_sklearn(
    estimator: Any,
    n_features: int,
    path: str | Path,
    *,
    trees: Trees = "auto",
    output: Output = "probabilities",
    input_name: str = "features",
    opset: int = 17,
) -> Path:
    """Write a fitted classifier or regressor (or a pipeline that ends in one) as an ONNX file.

    The file has one input, float32 [1, n_features], and one output, float32:

    - a classifier: `probabilities` [1, n_classes], as `predict_proba`; or with
      `output="decision"` the `decision` [1, n_classes] or [1, 1] from before the final softmax
      or sigmoid, which spares a prover that function. It is `decision_function` up to a constant
      that all classes share.
    - a regressor: `prediction` [1, n_targets], as `predict`.

    No label comes out: it is the argmax of the row, or the sign of a single decision.

    Args:
        estimator: a fitted scikit-learn estimator.
        n_features: number of columns that it was fitted on.
        path: file to write; its folder must exist.
        trees: `tensor` writes decision trees, forests and boosted trees as gathers and
            comparisons (through hummingbird-ml), so that provers without a TreeEnsemble operator
            can take them; `onnx-ml` keeps the TreeEnsemble operators (through skl2onnx). `auto`
            is `tensor`. Estimators without trees are not touched by it.
        output: what a classifier returns; regressors ignore it.
        input_name: name of the input.
        opset: newest standard operator set that the file may use, 13 to 18.

    Returns:
        `path`.

    Raises:
        UsageError: a wrong argument, or an estimator that the converter does not know.
        BackendUnavailable: a package that this estimator needs is not installed.
    """
    where = "export_sklearn"
    target = _target(path, where)
    _check_opset(opset, where)
    _choice("trees", trees, get_args(Trees), where)
    _choice("output", output, get_args(Output), where)
    if not isinstance(n_features, int) or isinstance(n_features, bool) or n_features < 1:
        raise UsageError(f"{where}: n_features: expected a positive int, got {n_features!r}")
    sklearn_base = _load("sklearn.base", where)
    classifier = bool(sklearn_base.is_classifier(estimator))
    if not classifier and not sklearn_base.is_regressor(estimator):
        raise UsageError(
            f"{where}: estimator: expected a classifier or a regressor, "
            f"got {type(estimator).__name__}; end the pipeline with one"
        )
    fitted = getattr(estimator, "n_features_in_", None)
    if fitted is None:
        raise UsageError(
            f"{where}: estimator: expected a fitted one, got {type(estimator).__name__} without "
            "n_features_in_; call its fit first"
        )
    if fitted != n_features:
        raise UsageError(
            f"{where}: n_features: expected {fitted}, the number of columns that "
            f"{type(estimator).__name__} was fitted on, got {n_features}"
        )
    width = _width(estimator, n_features, classifier, where)
    if trees != "onnx-ml" and _is_tree_model(estimator):
        model = _sklearn_tensor(estimator, n_features, classifier, input_name, opset, where)
    else:
        model = _sklearn_plain(estimator, n_features, classifier, input_name, opset, where)
        kept = sorted({node.op_type for node in model.graph.node} & set(_TREE_OPS))
        if kept and trees != "onnx-ml":
            raise UsageError(
                f"{where}: estimator: {type(estimator).__name__} contains trees that have no "
                f"tensor form and became {', '.join(kept)}; pass trees='onnx-ml' to keep them, "
                "which only backends that execute the model accept"
            )
    _set_shape(model.graph.output[0], (1, width))  # skl2onnx declares one target where many are
    if classifier and output == "decision":
        _cut_at_activation(model, type(estimator).__name__, where)
    _atomic_write(target, _finish(model, where))
    return target


# --- PyTorch ---------------------------------------------------------------------------------


def _named_inputs(module: Any, given: Any, where: str) -> dict[str, Array]:
    """The example inputs by ONNX name, in the order in which `forward` takes them."""
    if isinstance(given, Mapping):
        inputs = dict(given)
        parameters = [
            name
            for name, parameter in inspect.signature(module.forward).parameters.items()
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        ]
        known = [name for name in parameters if name in inputs]
        if known and len(known) < len(inputs):
            raise UsageError(
                f"{where}: example_inputs: expected all names or none to be parameters of "
                f"forward ({', '.join(parameters)}), got {', '.join(map(str, inputs))}; rename "
                "them, so that no input takes the place of another"
            )
        if known and known != parameters[: len(known)]:
            raise UsageError(
                f"{where}: example_inputs: expected the first {len(known)} parameters of forward "
                f"({', '.join(parameters)}), got {', '.join(map(str, inputs))}"
            )
        if known:
            inputs = {name: inputs[name] for name in known}
    elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
        one = len(given) == 1
        inputs = {"input" if one else f"input_{i}": value for i, value in enumerate(given)}
    else:
        raise UsageError(
            f"{where}: example_inputs: expected a mapping of names to arrays or a sequence of "
            f"arrays, got {type(given).__name__}"
        )
    if not inputs:
        raise UsageError(f"{where}: example_inputs: expected at least one array, got none")
    for name, value in inputs.items():
        _check_input(name, value, where)
    return inputs


def _check_input(name: object, value: object, where: str) -> None:
    if not isinstance(name, str) or not name:
        raise UsageError(f"{where}: example_inputs: expected names that are str, got {name!r}")
    if not isinstance(value, np.ndarray):
        raise UsageError(
            f"{where}: example_inputs[{name!r}]: expected a numpy.ndarray, "
            f"got {type(value).__name__}; for a tensor pass tensor.numpy()"
        )
    if value.dtype.name not in _DTYPES:
        raise UsageError(
            f"{where}: example_inputs[{name!r}]: expected one of {', '.join(_DTYPES)}, "
            f"got {value.dtype}"
        )
    if value.ndim == 0 or value.shape[0] != 1:
        raise UsageError(
            f"{where}: example_inputs[{name!r}]: expected shape [1, ...], "
            f"got {list(value.shape)}; one proof is about one inference"
        )


def _trace(
    torch: Any,
    module: Any,
    inputs: Mapping[str, Array],
    output_names: Sequence[str] | None,
    opset: int,
    where: str,
) -> bytes:
    """Trace `module` and return the finished file; `inputs` are checked, in forward's order."""
    args = tuple(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs.values())
    # Parts of a module may be in different modes, a frozen BatchNorm for one: remember each.
    modes = [(part, bool(part.training)) for part in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            results = _flat(torch, module(*args), where)
            names = _output_names(output_names, len(results), set(inputs), where)
            model = _torch_to_onnx(torch, module, args, list(inputs), names, opset)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"{where}: module: PyTorch could not export {type(module).__name__}: "
            f"{type(error).__name__}: {_first_line(error)}"
        ) from error
    finally:
        for part, training in modes:
            part.training = training
    # The exporter leaves some dimensions open that the run has just shown.
    for value, result in zip(model.graph.output, results, strict=True):
        _set_shape(value, tuple(result.shape))
    return _finish(model, where)


def _torch_to_onnx(
    torch: Any,
    module: Any,
    args: tuple[Any, ...],
    inputs: list[str],
    outputs: list[str],
    opset: int,
) -> onnx.ModelProto:
    """Run PyTorch's exporter.

    The TorchScript-based one: it writes the requested operator set directly and needs no further
    package, where the newer one writes opset 18 and up and needs onnxscript.
    """
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:  # PyTorch 2.5 and later
        options["dynamo"] = False
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            args,
            buffer,
            input_names=inputs,
            output_names=outputs,
            opset_version=opset,
            **options,
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    written = [value.name for value in model.graph.input]
    if written != inputs:
        raise ValueError(f"inputs {', '.join(inputs)} became {', '.join(written) or 'none'}")
    return model


def _flat(torch: Any, result: Any, where: str) -> list[Any]:
    """The outputs of a module as a list of tensors."""
    results = list(result) if isinstance(result, tuple | list) else [result]
    for item in results:
        if not isinstance(item, torch.Tensor):
            raise UsageError(
                f"{where}: module: expected a tensor or a sequence of tensors as output, "
                f"got {type(item).__name__}; wrap the module to return tensors"
            )
        if item.ndim == 0 or item.shape[0] != 1:
            raise UsageError(
                f"{where}: module: expected outputs of shape [1, ...], got {list(item.shape)}"
            )
    return results


def _output_names(
    given: Sequence[str] | None, count: int, taken: set[str], where: str
) -> list[str]:
    if given is None:
        return ["output"] if count == 1 else [f"output_{i}" for i in range(count)]
    names = [given] if isinstance(given, str) else list(given)
    if len(names) != count:
        raise UsageError(
            f"{where}: output_names: expected {count}, one per output of the module, "
            f"got {len(names)}"
        )
    if len(set(names)) != count or taken & set(names) or not all(names):
        raise UsageError(
            f"{where}: output_names: expected distinct names that no input has, "
            f"got {', '.join(names)}"
        )
    return names


# --- scikit-learn ----------------------------------------------------------------------------


def _width(estimator: Any, n_features: int, classifier: bool, where: str) -> int:
    """Number of columns that the estimator returns for one row."""
    if classifier and not hasattr(estimator, "predict_proba"):
        raise UsageError(
            f"{where}: estimator: expected a classifier with predict_proba, "
            f"got {type(estimator).__name__}; wrap it in CalibratedClassifierCV or fit a "
            "probabilistic one"
        )
    result = _predict(estimator, np.zeros((1, n_features), dtype=np.float32), classifier)
    if not isinstance(result, np.ndarray):
        raise UsageError(
            f"{where}: estimator: expected a classifier with one target, "
            f"got {type(estimator).__name__} fitted on several; fit one classifier per target"
        )
    return int(result.size)


def _predict(estimator: Any, rows: Array, classifier: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an estimator fitted on named columns asks for names
        return estimator.predict_proba(rows) if classifier else estimator.predict(rows)


def _is_tree_model(estimator: Any) -> bool:
    """Whether the estimator, or the last step of a pipeline, is a tree or an ensemble of trees."""
    return any(base.__name__ in _TREE_CLASSES for base in type(_last_step(estimator)).__mro__)


def _last_step(estimator: Any) -> Any:
    steps = getattr(estimator, "steps", None)
    return steps[-1][1] if steps else estimator


def _thresholds(estimator: Any) -> Iterator[tuple[Array, Array]]:
    """The features and the thresholds, writable, of each tree of a scikit-learn model."""
    last = _last_step(estimator)
    for members in getattr(last, "_predictors", ()):  # histogram-based boosting
        for tree in members:
            yield tree.nodes["feature_idx"], tree.nodes["num_threshold"]
    for tree in np.ravel(getattr(last, "estimators_", [last])):
        if hasattr(tree, "tree_"):
            yield tree.tree_.feature, tree.tree_.threshold


def _sklearn_tensor(
    estimator: Any, n_features: int, classifier: bool, input_name: str, opset: int, where: str
) -> onnx.ModelProto:
    """Convert a tree model through hummingbird-ml: it becomes Gather, LessOrEqual and Add."""
    torch = _load("torch", where)
    hummingbird = _load("hummingbird.ml", where)
    name = type(estimator).__name__
    rounded = copy.deepcopy(estimator)
    for _, thresholds in _thresholds(rounded):
        thresholds[...] = _round_down(thresholds)
    if classifier:  # hummingbird refuses labels that are not whole numbers, and none comes out
        last = _last_step(rounded)
        last.classes_ = np.arange(len(last.classes_))
    example = {input_name: np.zeros((1, n_features), dtype=np.float32)}
    with warnings.catch_warnings():
        # hummingbird makes constants while it is traced, which is safe: they are constants.
        warnings.simplefilter("ignore")
        try:
            module = _tree_module(hummingbird, rounded)
        except Exception as error:
            raise UsageError(
                f"{where}: estimator: hummingbird-ml cannot convert {name}: "
                f"{_first_line(error)}; trees='onnx-ml' converts with skl2onnx"
            ) from error
        rows = _probe_rows(rounded, n_features)
        results = module(torch.from_numpy(rows))
        got = (results[1] if classifier else results).numpy().reshape(len(rows), -1)
        want = np.reshape(_predict(estimator, rows, classifier), (len(rows), -1))
        # hummingbird reads private attributes that change between versions of scikit-learn.
        if got.shape != want.shape or not np.allclose(got, want, rtol=1e-4, atol=1e-5):
            raise UsageError(
                f"{where}: estimator: hummingbird-ml converts this version of {name} wrongly: "
                "expected its predictions, got others; trees='onnx-ml' converts with skl2onnx"
            )
        model = onnx.load_model_from_string(_trace(torch, module, example, None, opset, where))
    # A classifier returns its integer label in front of its probabilities.
    _keep_output(model, model.graph.output[-1].name)
    _rename_output(model, "probabilities" if classifier else "prediction")
    return model


def _tree_module(hummingbird: Any, estimator: Any) -> Any:
    """The estimator as a PyTorch module, in the form that provers evaluate rightly and cheaply.

    The form hummingbird prefers for shallow trees compares path counts with Equal, whose result
    EZKL 23 leaves at the scale of its operands: wrong by 2**scale, with no error. Its other forms
    decide with LessOrEqual, and take a sixth of the rows.
    """
    module = hummingbird.convert(estimator, "torch").model
    if not any(type(part).__name__.startswith("GEMM") for part in module.modules()):
        return module
    try:
        config = {"tree_implementation": "perf_tree_trav"}
        return hummingbird.convert(estimator, "torch", extra_config=config).model
    except ValueError:  # it cannot lay out a tree of one comparison that way
        config = {"tree_implementation": "tree_trav"}
        return hummingbird.convert(estimator, "torch", extra_config=config).model


def _round_down(thresholds: Array) -> Array:
    """The largest float32 at or below each float64 threshold, as float64.

    `x <= t` for a float32 x is the same as `x <= round_down(t)`; the nearest float32 may lie
    above t and send an x between the two the wrong way.
    """
    nearest = thresholds.astype(np.float32)
    below = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > thresholds, below, nearest).astype(np.float64)


def _probe_rows(estimator: Any, n_features: int, count: int = 256) -> Array:
    """Rows float32 [count, n_features] that lie on, or just above, thresholds of the trees."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(count, n_features)).astype(np.float32)
    if _last_step(estimator) is not estimator:
        return rows  # the steps before move the thresholds
    pairs = list(_thresholds(estimator))
    if not pairs:
        return rows
    features = np.concatenate([pair[0] for pair in pairs])
    thresholds = np.concatenate([pair[1] for pair in pairs])
    for feature in range(n_features):
        known = thresholds[(features == feature) & np.isfinite(thresholds)].astype(np.float32)
        if known.size:
            known = np.concatenate([known, np.nextafter(known, np.float32(np.inf))])
            rows[:, feature] = random.choice(known, size=count)
    return rows


def _sklearn_plain(
    estimator: Any, n_features: int, classifier: bool, input_name: str, opset: int, where: str
) -> onnx.ModelProto:
    """Convert through skl2onnx, with standard operators where it can."""
    skl2onnx = _load("skl2onnx", where)
    types = _load("skl2onnx.common.data_types", where)

    def convert(avoided: set[str]) -> onnx.ModelProto:
        model: onnx.ModelProto = skl2onnx.convert_sklearn(
            estimator,
            name="proofml",  # a random one otherwise
            initial_types=[(input_name, types.FloatTensorType([1, n_features]))],
            target_opset={"": opset, "ai.onnx.ml": _ML_OPSET},
            options={id(estimator): {"zipmap": False}} if classifier else None,
            black_op=avoided,
        )
        return model

    try:
        try:
            model = convert(_AVOIDED_OPS)
        except (RuntimeError, NotImplementedError):
            # Not every estimator has a converter without them.
            model = convert(set())
    except Exception as error:
        raise UsageError(
            f"{where}: estimator: skl2onnx cannot convert {type(estimator).__name__}: "
            f"{_first_line(error)}"
        ) from error
    _keep_output(model, model.graph.output[-1].name)
    _rename_output(model, "probabilities" if classifier else "prediction")
    return model


def _cut_at_activation(model: onnx.ModelProto, what: str, where: str) -> None:
    """Make the input of the last Sigmoid or Softmax the only output, `decision`, in place."""
    producers = {name: node for node in model.graph.node for name in node.output}
    waiting = [model.graph.output[0].name]
    seen: set[str] = set()
    while waiting:
        name = waiting.pop(0)
        node = producers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in ("Sigmoid", "Softmax"):
            break
        waiting.extend(node.input)
    else:
        raise UsageError(
            f"{where}: output: expected 'probabilities', the only output of {what}, got "
            "'decision'; it makes its probabilities with neither a sigmoid nor a softmax"
        )
    name = node.input[0]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    value = next((item for item in inferred.graph.value_info if item.name == name), None)
    if value is None:
        raise UsageError(
            f"{where}: output: the shape of the decision of {what} is unknown; "
            "expected 'probabilities'"
        )
    model.graph.output.append(value)
    _keep_output(model, name)
    _rename_output(model, "decision")


# --- ONNX ------------------------------------------------------------------------------------


def _keep_output(model: onnx.ModelProto, name: str) -> None:
    """Drop all outputs but `name`, and every node and weight that only they needed, in place."""
    graph = model.graph
    needed = {name}
    nodes = []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed.update(node.input)
            nodes.append(node)
    nodes.reverse()
    _replace(graph.node, nodes)
    _replace(graph.initializer, [item for item in graph.initializer if item.name in needed])
    _replace(graph.output, [item for item in graph.output if item.name == name])


def _rename_output(model: onnx.ModelProto, name: str) -> None:
    """Give the only output another name, in place."""
    old = model.graph.output[0].name
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, item in enumerate(names):
                if item == old:
                    names[i] = name
    model.graph.output[0].name = name


def _finish(model: onnx.ModelProto, where: str) -> bytes:
    """Canonical bytes of `model`: nothing in them tells when, where or how it was made.

    Raises:
        UsageError: a shape is open, or the ONNX checker refuses the model.
    """
    model.ir_version = _IR_VERSION
    for field in ("producer_name", "producer_version", "domain", "doc_string", "metadata_props"):
        model.ClearField(field)
    model.ClearField("model_version")
    model.graph.name = "proofml"
    model.graph.ClearField("doc_string")
    model.graph.ClearField("value_info")
    domains = {"", *(node.domain for node in model.graph.node)}
    versions: dict[str, int] = {}
    for opset in model.opset_import:  # skl2onnx may repeat a domain
        if opset.domain in domains:
            versions[opset.domain] = max(opset.version, versions.get(opset.domain, 0))
    opsets = [onnx.helper.make_opsetid(domain, versions[domain]) for domain in sorted(versions)]
    _replace(model.opset_import, opsets)
    for node in model.graph.node:
        node.ClearField("doc_string")
    for value in (*model.graph.input, *model.graph.output):
        dims = value.type.tensor_type.shape.dim
        if not dims or not all(dim.dim_value > 0 for dim in dims) or dims[0].dim_value != 1:
            shape = [dim.dim_value or dim.dim_param or "?" for dim in dims]
            raise UsageError(
                f"{where}: {value.name}: expected a fixed shape [1, ...], got {shape}; "
                "make the model's shapes independent of its input"
            )
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UsageError(
            f"{where}: the exporter wrote a model that the ONNX checker refuses: "
            f"{_first_line(error)}; another opset may help"
        ) from error
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def _set_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    tensor = value.type.tensor_type
    value.type.CopyFrom(onnx.helper.make_tensor_type_proto(tensor.elem_type, list(shape)))


def _replace(field: Any, items: Iterable[Any]) -> None:
    """Replace the content of a repeated protobuf field."""
    copies = []
    for item in items:
        copy = type(item)()
        copy.CopyFrom(item)
        copies.append(copy)
    del field[:]
    field.extend(copies)


# --- arguments -------------------------------------------------------------------------------


def _load(name: str, where: str) -> Any:
    """Import an optional package."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: a shared library of PyTorch is missing
        package = {"sklearn": "scikit-learn", "hummingbird": "hummingbird-ml"}
        root = name.partition(".")[0]
        raise BackendUnavailable(
            f"{where}: expected the package {package.get(root, root)} to be installed, got: "
            f"{_first_line(error)}; install it with: pip install 'proofml[torch]'"
        ) from error


def _target(path: str | Path, where: str) -> Path:
    if not isinstance(path, str | Path):
        raise UsageError(f"{where}: path: expected str or Path, got {type(path).__name__}")
    target = Path(path)
    if not target.parent.is_dir():
        raise UsageError(
            f"{where}: path: expected a file in an existing folder, got {target}; create "
            f"{target.parent} first"
        )
    if target.is_dir():
        raise UsageError(f"{where}: path: expected a file, got the folder {target}")
    return target


def _check_opset(opset: object, where: str) -> None:
    if isinstance(opset, bool) or not isinstance(opset, int):
        raise UsageError(f"{where}: opset: expected an int, got {type(opset).__name__}")
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise UsageError(f"{where}: opset: expected {MIN_OPSET} to {MAX_OPSET}, got {opset}")


def _choice(name: str, value: object, allowed: tuple[str, ...], where: str) -> None:
    if value not in allowed:
        raise UsageError(f"{where}: {name}: expected one of {', '.join(allowed)}, got {value!r}")


def _atomic_write(target: Path, data: bytes) -> None:
    """Write through a sibling, so that a reader never finds half a model."""
    partial = target.with_name(target.name + ".partial")
    partial.write_bytes(data)
    partial.replace(target)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__
