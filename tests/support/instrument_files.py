"""Small files in the formats of instruments, written from what is known of their layouts."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np


def jobin_yvon(path: Path, spectra: np.ndarray, shift: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """LabSpec's XML: numbers as text in rows, one for each pixel; what a number means is told by identifiers.

    A map has x and y of several values, a spectrum of none.
    """

    def entry(name: str, text: str, value: str = "") -> str:
        second = f'<LSX ID="0x8736F70">{value}</LSX>' if value else ""
        return f'<LSX ID="0x0"><LSX ID="0x6D6D616E">{name}</LSX><LSX ID="0x7D6C61DB">{text}</LSX>{second}</LSX>'

    def axis(number: int, kind: str, units: str, values: np.ndarray) -> str:
        text = " ".join(repr(float(v)) for v in values)
        return (
            f'<LSX ID="0x{number}"><LSX ID="0x6D707974">{kind}</LSX><LSX ID="0x7C696E75">{units}</LSX><LSX '
            f'ID="0x7D6CD4DB">{text} </LSX></LSX>'
        )

    setup = entry("Acq. time (s)", "2") + entry("Accumulations", "5") + entry("Laser (nm)", "633", "632.817")
    setup += entry("Grating", "600 gr/mm", "600.04") + entry("ND Filter", "50%", "50") + entry("Hole", "200")
    axes = axis(0, "Intens", "Cnt", np.zeros(0)) + axis(1, "Spectr", "1/cm", shift)
    axes += axis(2, "X", "µm", x) + axis(3, "Y", "µm", y)
    rows = "".join(
        f'<LSX_Row Size="{row.size}">{" ".join(repr(float(v)) for v in row)} </LSX_Row>'
        for row in spectra.reshape(-1, spectra.shape[-1])
    )
    path.write_text(
        '<?xml version="1.0" encoding="utf-8"?><LSX_Data><LSX_Tree>'
        f'<LSX ID="0x6C62D4D9"><LSX ID="0x7CECDBD7">{entry("Acquired", "21.05.2021 10:30:00")}</LSX>'
        f'<LSX ID="0x8716361">{setup}</LSX><LSX ID="0x7C73E2D2">{entry("Sample", "graphene")}</LSX></LSX>'
        '<LSX ID="0x6C7469D9">flake</LSX><LSX ID="0x6D707974">SpIm</LSX>'
        f'<LSX ID="0x7A74D9D6"><LSX ID="0x7B697861">{axes}</LSX></LSX>'
        f"</LSX_Tree><LSX_Matrix>{rows}</LSX_Matrix></LSX_Data>",
        encoding="utf-8",
    )


def renishaw(
    path: Path, spectra: np.ndarray, shift: np.ndarray, x: tuple[float, float], y: tuple[float, float]
) -> None:
    """WiRE's .wdf: blocks with a name, a number and a size; real numbers of single precision.

    Spectra over (y, x, channel) with ``x`` and ``y`` as the first position and the step in µm, over (y, channel) as a
    series of depths, or (channel).
    """
    kind, shape = spectra.ndim, spectra.shape[:-1]
    count, size = int(np.prod(shape)), spectra.shape[-1]

    def block(name: bytes, body: bytes, uid: int = 0) -> bytes:
        return struct.pack("<4sIQ", name, uid, len(body) + 16) + body

    origins = []
    for data_type, (first, step) in ((3, x), (4, y)) if kind == 3 else ((5, y),) if kind == 2 else ():
        steps = np.indices(shape)[{3: -1, 4: 0, 5: 0}[data_type]].ravel()
        origins.append(struct.pack("<II16s", data_type, 5, b"axis") + (first + step * steps).astype("<f8").tobytes())
    header = struct.pack("<Q4I3IIIIQQ4I", 0, 1, 2, 3, 4, 0, 0, 0, 1, 0, size, count, count, 1, 1, size, len(origins))
    header += struct.pack("<24s4HII", b"WiRE", 5, 3, 0, 1, 1, kind)
    header += struct.pack("<QQIf48s32s160s", 132660666000000000, 132660666600000000, 6, 18796.99, b"", b"X", b"flake")
    blocks = [block(b"WDF1", header.ljust(496, b"\0"), 1), block(b"DATA", spectra.astype("<f4").tobytes())]
    blocks += [block(b"XLST", struct.pack("<II", 1, 1) + shift.astype("<f4").tobytes())]
    blocks += [block(b"YLST", struct.pack("<IIf", 0, 0, 0))]
    if origins:
        blocks.append(block(b"ORGN", struct.pack("<I", len(origins)) + b"".join(origins)))
    if kind == 3:
        blocks.append(
            block(b"WMAP", struct.pack("<II6f4I", 2, 0, x[0], y[0], 0, x[1], y[1], 0, shape[1], shape[0], 1, 1))
        )
    path.write_bytes(b"".join(blocks))


def trivista(
    path: Path, spectra: np.ndarray, wavelength: np.ndarray, x: tuple[float, float], y: tuple[float, float]
) -> None:
    """TriVista's XML: a map with a frame for each pixel; the axes lie in XML that is text within the XML.

    ``x`` and ``y`` are the first position and the step.
    """
    n_y, n_x, size = spectra.shape

    def group(name: str, **items: object) -> str:
        inner = "".join(f'<Item Name="{key}" Value="{value}"/>' for key, value in items.items())
        return f'<Group Name="{name}"><Groups/><Items>{inner}</Items></Group>'

    groups = group("X-Axis", From=x[0], Step=x[1], Points=n_x) + group("Y-Axis", From=y[0], Step=y[1], Points=n_y)
    groups += group(
        "Detector",
        Name="CCD",
        No_of_Frames=n_x * n_y,
        No_of_Accumulations=1,
        Calc_Average=False,
        **{"Exposure_Time_(ms)": 500},
    )
    groups += group("Calibration", Center_Wavelength=550.0, Laser_Wavelength=0)
    spectrometer = {"Serialnumber": "77", "Model": "SP-2-500i", "Groove_Density": "300 g/mm"}
    groups += (
        "<Group "
        f'Name="Spectrometers"><Groups>{group("Spectrometer", **spectrometer)}'
        f"{group('Other', **(spectrometer | {'Serialnumber': '78'}))}</Groups><Items/></Group>"
    )
    info = escape(f"<Info><Groups>{groups}</Groups></Info>", {'"': "&quot;"})
    gratings = (
        '<Gratings><Grating GrooveDensity="300 g/mm" Blaze="500NM"/><Grating GrooveDensity="600 g/mm" '
        'Blaze="750NM"/></Gratings>'
    )
    hardware = (
        '<Hardware><LightSources><LightSource Name="a"/><LightSource Name="b"/></LightSources>'
        '<Detectors><Detector Name="CCD"/><Detector Name="InGaAs"/></Detectors><Microscopes>'
        + (
            '<Microscope><Objectives><Objective IsEnabled="True" Magnification="50"/><Objective IsEnabled="False" '
            'Magnification="10"/></Objectives></Microscope>'
        )
        * 2
        + f'</Microscopes><Spectrometers><Spectrometer Serialnumber="77">{gratings}</Spectrometer>'
        f'<Spectrometer Serialnumber="78">{gratings}</Spectrometer></Spectrometers></Hardware>'
    )
    frames = "".join(
        f'<Frame TimeStamp="{637000000000000000 + 5000000 * k}">{";".join(repr(float(v)) for v in row)}</Frame>'
        for k, row in enumerate(spectra.reshape(-1, size))
    )
    values = "|".join([str(size), *(repr(float(v)) for v in wavelength)])
    path.write_text(
        f'<?xml version="1.0" encoding="utf-8"?><XmlMain FileInfoSerialized="&lt;Info /&gt;">{hardware}<Documents>'
        f'<Document Label="Intensity" DataLabel="Counts" RecordTime="05/21/2021 10:30:00.5" InfoSerialized="{info}">'
        f'<xDim><Calibration Unit="Nanometer" ValueArray="{values}"/></xDim><Data>{frames}</Data><Childs '
        'Count="0"/></Document>'
        "</Documents></XmlMain>",
        encoding="utf-8",
    )


def hamamatsu(path: Path, image: np.ndarray, wavelength: np.ndarray, time: np.ndarray) -> None:
    """HPD-TA's streak images: a header of 64 bytes, a comment that says where the scales
    lie, 16-bit values, the scales.
    """
    lines, width = image.shape

    def comment(at: int) -> bytes:
        text = (
            '[Application],Date="21/05/2021",Time="10:30:00.500"\r\n'
            '[Acquisition],NrExposure=10,AcqMode=4,ZAxisLabel=Intensity,ZAxisUnit=Count,ExposureTime="100 ms"\r\n'
            '[Streak camera],DeviceName=C10910,Time Range="20 ns"\r\n'
            f'[Scaling],ScalingXType=2,ScalingXUnit="nm",ScalingXScalingFile="#{at:08d},{width:04d}",ScalingYType=2,'
            f'ScalingYUnit="ns",ScalingYScalingFile="#{at + 4 * width:08d},{lines:04d}"'
        )
        return text.encode()

    size = len(comment(0))
    at = 64 + size + 2 * image.size
    header = struct.pack("<2s6hihhd4s30s", b"IM", size, width, lines, 0, 0, 2, 0, 0, 0, 0.0, b"", b"")
    values = [image.astype("<u2").tobytes(), wavelength.astype("<f4").tobytes(), time.astype("<f4").tobytes()]
    path.write_bytes(header + comment(at) + b"".join(values))


def tia_spectra(path: Path, spectra: np.ndarray, energy: tuple[float, float], step: float, version: int = 528) -> None:
    """TIA's series of spectra: a header, the dimensions, for each pixel an element and a tag with its position.

    Spectra over (y, x, energy), (x, energy) or (energy); ``energy`` is the first value and the step in eV, ``step``
    that of pixels in metres. From version 544 on offsets have 64 bits.
    """
    shape = spectra.shape[:-1]
    sizes = shape[::-1] or (1,)
    dimensions = [(n, 0.0, step, 0, b"Position", b"meters") for n in sizes]
    elements = [
        (
            struct.pack("<ddIHI", *energy, 0, 2, spectra.shape[-1]) + row.astype("<u2").tobytes(),
            _position(k, sizes[0], step),
        )
        for k, row in enumerate(spectra.reshape(-1, spectra.shape[-1]))
    ]
    _tia(path, 0x4120, dimensions, elements, version)


def tia_images(path: Path, images: np.ndarray, pixel: float) -> None:
    """TIA's series of images (frame, y, x), whose rows lie upside down; ``pixel`` in metres."""
    n, height, width = images.shape
    dimensions = [(n, 0.0, 1.0, 0, b"Number", b"")]
    elements = [
        (
            struct.pack("<ddIddIHII", 0.0, pixel, 0, 0.0, pixel, 0, 6, width, height)
            + image[::-1].astype("<i4").tobytes(),
            _position(k, n, 0.0),
        )
        for k, image in enumerate(images)
    ]
    _tia(path, 0x4122, dimensions, elements, 544)


def _position(k: int, width: int, step: float) -> bytes:
    return struct.pack("<HHIdd", 0x4142, 0, 1621593000 + k, k % width * step, k // width * step)


def _tia(path: Path, kind: int, dimensions: list, elements: list[tuple[bytes, bytes]], version: int) -> None:
    offset = "<I" if version <= 528 else "<Q"
    described = b"".join(
        struct.pack("<IddI", n, start, step, element) + b"".join(struct.pack("<I", len(t)) + t for t in (name, units))
        for n, start, step, element, name, units in dimensions
    )
    count = len(elements)
    begin = struct.pack("<HHHIIII", 0x4949, 0x0197, version, kind, 0x4142, count, count)
    table = len(begin) + struct.calcsize(offset) + 4 + len(described)
    at = table + 2 * count * struct.calcsize(offset)
    data, tags, body = [], [], b""
    for element, tag in elements:
        data.append(struct.pack(offset, at + len(body)))
        tags.append(struct.pack(offset, at + len(body) + len(element)))
        body += element + tag
    end = struct.pack(offset, table) + struct.pack("<I", len(dimensions)) + described
    path.write_bytes(begin + end + b"".join(data + tags) + body)


def emi(path: Path, **conditions: tuple[float, str]) -> None:
    """TIA's description beside the series: XML between bytes that nobody documented."""
    entries = "".join(
        f"<Data><Label>{label}</Label><Value>{value}</Value><Unit>{unit}</Unit></Data>"
        for label, (value, unit) in conditions.items()
    )
    text = (
        "<ObjectInfo><AcquireDate>Fri May 21 10:30:00 "
        f"2021</AcquireDate><ExperimentalDescription><Root>{entries}</Root></ExperimentalDescription></ObjectInfo>"
    )
    path.write_bytes(b"\x4a\x4b\x00\x01" + text.encode() + b"\x00\xff\x10")


def velox(path: Path, image: np.ndarray, counts: np.ndarray | None = None, losses: np.ndarray | None = None) -> None:
    """Velox's HDF5: images, counts as a stream of channels with a mark after each pixel, EELS as
    a cube, all with JSON beside.

    ``counts`` are over (frame, y, x, channel), ``losses`` over (y, x, channel).
    """
    import h5py

    detectors = {
        "Detector-0": {"DetectorName": "HAADF", "DetectorType": "ScanningDetector"},
        "Detector-1": {
            "DetectorName": "SuperX",
            "Dispersion": "10",
            "OffsetEnergy": "-250",
            "LiveTime": "12.5",
            "RealTime": "15",
            "AzimuthAngle": "0.5",
            "ElevationAngle": "0.3",
        },
    }
    pixel = {
        "PixelSize": {"width": "2e-10", "height": "2e-10"},
        "Offset": {"x": "-1e-9", "y": "0"},
        "PixelUnitX": "m",
        "PixelUnitY": "m",
    }
    common = {
        "Detectors": detectors,
        "Acquisition": {"AcquisitionStartDatetime": {"DateTime": "1621593000"}},
        "Optics": {"AccelerationVoltage": "200000"},
        "Instrument": {"InstrumentClass": "Titan"},
        "Scan": {"FrameTime": "0.5"},
        "CustomProperties": {},
        "Stage": {"AlphaTilt": "0", "BetaTilt": "0", "Position": {"x": "0", "y": "0", "z": "0"}},
    }

    def described(detector: int) -> np.ndarray:
        about = common | {
            "BinaryResult": pixel | {"DetectorIndex": str(detector), "Detector": ["HAADF", "SuperX"][detector]}
        }
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        # One column for each frame, filled up with zeros.
        return np.pad(text, (0, 8))[:, None]

    with h5py.File(path, "w") as file:
        file["Version"] = _texts({"format": "Velox", "version": "11"})
        file.create_dataset("Data/Image/a1/Data", data=image[:, :, None], chunks=(*image.shape, 1))
        file["Data/Image/a1/Metadata"] = described(0)
        file["Displays/ImageDisplay/d1"] = _texts(
            {"id": "survey", "data": "/SharedProperties/ImageSeriesDataReference/r1"}
        )
        file["SharedProperties/ImageSeriesDataReference/r1"] = _texts({"dataPath": "/Data/Image/a1"})
        if counts is not None:
            _stream(file, counts, described(1))
        if losses is not None:
            if counts is None:
                file["Data/SpectrumImage/b1/SpectrumImageSettings"] = _texts({"endFramePosition": "1"})
                file["Data/SpectrumImage/b1/Metadata"] = described(1)
            file["Data/EelsSpectrumImage/e1/Data"] = np.ascontiguousarray(losses.transpose(1, 2, 0))
            file["Data/EelsSpectrumImage/e1/Metadata"] = described(0)
            about = np.frombuffer(json.dumps({"Data": {"offset": 400.0, "dispersion": 0.5}}).encode(), np.uint8)
            file["Data/EelsSpectrumImage/e1/AcquisitionMetadata"] = np.pad(about, (0, 8))[:, None]


def _texts(tree: dict) -> np.ndarray:
    return np.array([json.dumps(tree).encode()], dtype="S1000").astype(object)


def _stream(file, counts: np.ndarray, described: np.ndarray) -> None:
    """Counts pixel by pixel: a number for each, 65535 at the end of a pixel."""
    words = []
    for pixel in counts.reshape(-1, counts.shape[-1]):
        words += [*np.repeat(np.arange(pixel.size), pixel).tolist(), 65535]
    settings = {"bincount": str(counts.shape[-1]), "StreamEncoding": "uint16"}
    group = file.create_group("Data/SpectrumStream/s1")
    group["Data"] = np.array(words, np.uint16)[:, None]
    group["AcquisitionSettings"], group["Metadata"] = _texts(settings), described
    file["Data/SpectrumImage/b1/SpectrumImageSettings"] = _texts({"endFramePosition": str(len(counts))})
    file["Data/SpectrumImage/b1/Metadata"] = described


def spx(path: Path, counts: np.ndarray, offset: float, scale: float) -> None:
    """Bruker's XML of one EDS spectrum, energies in keV."""
    layers = base64.b64encode(zlib.compress(b"<DetLayers><Layer0 Atom='4' Thickness='8'/></DetLayers>")).decode()
    path.write_text(
        "<TRTSpectrum><ClassInstance Type='TRTSpectrum' Name='brass'><TRTHeaderedClass>"
        "<ClassInstance Type='TRTSpectrumHardwareHeader'><RealTime>20000</RealTime><LifeTime>18000</LifeTime>"
        "<Amplification>20000</Amplification></ClassInstance>"
        f"<ClassInstance Type='TRTDetectorHeader'><Type>XFlash 6</Type><DetLayers>{layers}</DetLayers></ClassInstance>"
        "<ClassInstance "
        "Type='TRTESMAHeader'><PrimaryEnergy>20</PrimaryEnergy><ElevationAngle>35</ElevationAngle></ClassInstance>"
        "</TRTHeaderedClass><ClassInstance Type='TRTSpectrumHeader'><Date>21.5.2021</Date><Time>10:30:00</Time>"
        f"<ChannelCount>{counts.size}</ChannelCount><CalibAbs>{offset}</CalibAbs><CalibLin>{scale}</CalibLin></ClassInstance>"
        f"<Channels>{','.join(str(n) for n in counts)}</Channels></ClassInstance></TRTSpectrum>"
    )


def edax_spectrum(path: Path, counts: np.ndarray, first: float, step: float) -> None:
    """EDAX's .spc of version 0.70: a header with a place for each of its hundreds of entries;
    first channel in keV, steps in eV.
    """
    size = 20740
    header = bytearray(size)
    entries = [("<f", 0, 0.7), ("<i", 28, size), ("<h", 32, counts.size), ("<i", 384, int(step)), ("<f", 448, first)]
    entries += [
        ("<f", 452, 10.0),
        ("<f", 456, 50.0),
        ("<f", 472, 129.0),
        ("<f", 508, 45.0),
        ("<f", 512, 35.0),
        ("<f", 532, 20.0),
    ]
    entries += [("<h", 638, 2), ("<H", 640, 29), ("<H", 642, 30)]
    for kind, at, value in entries:
        struct.pack_into(kind, header, at, value)
    path.write_bytes(bytes(header) + counts.astype("<i4").tobytes())


def edax_map(path: Path, counts: np.ndarray) -> None:
    """EDAX's .spd: a header, then counts (y, x, channel); energies stand in the .spc of the same name."""
    n_y, n_x, channels = counts.shape
    header = b"MAPSPECTRA_DATA".ljust(16, b"\0") + struct.pack("<8i", 1, n_y * n_x, n_x, n_y, channels, 2, 1068, 1)
    path.write_bytes((header + b"map.bmp".ljust(120, b"\0")).ljust(1068, b"\0") + counts.astype("<u2").tobytes())


def delmic(path: Path, spectra: np.ndarray, wavelength: np.ndarray, pixel: float) -> None:
    """Odemis's HDF5: a group for each acquisition, data over (C, T, Z, Y, X); lengths in metres, rows from the
    top, the centre as the position.
    """
    import h5py

    image = spectra.transpose(2, 0, 1)[:, None, None]
    survey = np.ones((1, 1, 1, 4, 4), np.uint16)
    with h5py.File(path, "w") as file:
        for k, (title, data) in enumerate((("Spectrum", image), ("SEM survey", survey))):
            group = file.create_group(f"Acquisition{k}")
            group["ImageData/Image"] = data
            for dim, label in zip(group["ImageData/Image"].dims, "CTZYX", strict=True):
                dim.label = label
            about = {
                "XOffset": 0.0,
                "YOffset": 0.0,
                "TOffset": 1621593000.0,
                "DimensionScaleX": pixel,
                "DimensionScaleY": pixel,
            }
            for name, value in (about | ({"DimensionScaleC": wavelength} if data is image else {})).items():
                group[f"ImageData/{name}"] = value
            group["PhysicalData/Title"] = title.encode()
            group["PhysicalData/ChannelDescription"] = np.array([title.encode()])
            group["PhysicalData/ChannelDescription"].attrs["State"] = np.array([1])
            group["SVIData/Company"] = b"Delmic"
            group["SVIData/WriterVersion"] = b"1"


def merlin(path: Path, frames: np.ndarray, exposure: float) -> None:
    """Quantum Detectors' Merlin: before each frame a header of 384 characters; rows upside down; ``exposure`` in ns."""
    count, height, width = frames.shape
    with path.open("wb") as file:
        for k in range(count):
            words = ["MQ1", f"{k + 1:06d}", "00384", "01", f"{width:04d}", f"{height:04d}", "U16", "   1x1", "01"]
            words += [f"2021-05-21T10:30:0{k}.000000Z", f"{exposure:.0f}ns", "12", ""]
            file.write(",".join(words).ljust(384).encode() + frames[k, ::-1].astype(">u2").tobytes())


def mrc(path: Path, images: np.ndarray, pixel: float) -> None:
    """MRC 2014: a header of 1024 bytes; real numbers of single precision; ``pixel`` in ångström."""
    header = np.zeros(256, "<i4")
    header[:4] = [*images.shape[::-1], 2]
    header[7:10] = images.shape[::-1]
    header[10:13] = np.array(np.array(images.shape[::-1]) * pixel, "<f4").view("<i4")
    path.write_bytes(header.tobytes() + images.astype("<f4").tobytes())


def dens(path: Path, temperatures: np.ndarray, step: float) -> None:
    """DENSsolutions' log of a heater: a table with tabulators."""
    head = (
        "21/05/'21 10:30\tDigiheater "
        "3.1\nR0=1.0\ta=2.0\tb=3.0\tc=4.0\ndelta_t\n"
        "sample\ttime\tTset[C]\tTmeas[C]\tRheat[ohm]\tVheat[V]\tIheat[mA]\tPheat [mW]\tc\n"
    )
    rows = [f"{k}\t{k * step}\t0\t{float(t)!r}\t0\t0\t0\t0\t0" for k, t in enumerate(temperatures)]
    path.write_text(head + "\n".join(rows) + "\n")


def protochips(path: Path, temperatures: np.ndarray, currents: np.ndarray, step: int) -> None:
    """Protochips' log: times in ms, named columns, what they are in a header within comments of the table."""
    head = [
        "Time, Notes, Channel A Temperature, Channel A Current",
        "0, Date (yyyy.mm.dd) = 2021.05.21",
        "0, Time (hh:mm:ss.ms) = 10:30:00.500",
        "0, Temperature units = Celsius",
        "0, Current units = mA",
        "0, Time units = Milliseconds",
        "0, Calibration file = C:\\chips\\a.csv",
        "0, User = X",
    ]
    rows = [
        f"{k * step},,{float(t)!r},{float(c)!r}" for k, (t, c) in enumerate(zip(temperatures, currents, strict=True))
    ]
    head = [head[0], *(f"{line},," for line in head[1:])]
    path.write_text("\n".join([*head, *rows]) + "\n")


def impulse(path: Path, temperatures: np.ndarray, step: float) -> None:
    """Impulse's log beside its ``_Metadata.log``; the file's name must end in ``_Synchronized data.csv``."""
    rows = [f"{k},{k * step},{float(t)!r}" for k, t in enumerate(temperatures)]
    path.write_text("\n".join(["TimeStamp,Experiment time,Temperature Measured (C)", *rows]) + "\n")
    log = path.with_name("_".join(path.name.split("_")[:-1]) + "_Metadata.log")
    log.write_text("Experiment date, 2021-05-21\nExperiment time, 10:30:00\nLive notes, none\n")


def empad(path: Path, patterns: np.ndarray) -> None:
    """EMPAD's raw frames of 130 by 128 values, of which the last two rows are no image, and XML beside."""
    n_y, n_x = patterns.shape[:2]
    whole = np.zeros((n_y, n_x, 130, 128), "<f4")
    whole[:, :, :128] = patterns
    raw = path.with_name("scan_x3_y2.raw")
    raw.write_bytes(whole.tobytes())
    path.write_text(
        f'<root><raw_file filename="{raw.name}"/><pix_x>{n_x}</pix_x><pix_y>{n_y}</pix_y><timestamp '
        'isoformat="2021-05-21T10:30:00"/>'
        "<iom_measurements><calibrated_pixelsize>2e-11</calibrated_pixelsize></iom_measurements></root>"
    )


def panta_rhei(path: Path, losses: np.ndarray, first: float, step: float) -> None:
    """CEOS Panta Rhei's EELS maps (y, x, energy) since 24.03: NumPy's archive of values and of JSON; the
    camera counts energies downwards.
    """
    last = first + step * (losses.shape[-1] - 1)
    pixel = {"unit": "nm", "value": 0.2, "offset": 0.0}
    about = {
        "type": "3D",
        "filter.mode": "EELS",
        "electron_gun.voltage": 200000.0,
        "content.types": ["Energy", "ScanX", "ScanY"],
        "device.calib": [{"unit": "eV", "value": step, "offset": -last / step}, pixel, pixel],
    }
    with path.open("wb") as file:
        np.savez(file, data=losses[..., ::-1], meta_data_json=json.dumps([about]))


def digital_micrograph(
    path: Path, data: np.ndarray, axes: list[tuple[float, float, str]], kind: tuple[str, str], voltage: float
) -> None:
    """DigitalMicrograph's tree of tags, by the extension in version 3 or 4, whose lengths
    have 4 or 8 bytes, big end first.

    ``axes`` are the first value, the step and the units of each axis of the array, ``kind`` the signal and the format,
    such as ("EELS", "Spectrum image"). Data of 32-bit integers without a sign are colours.
    """
    types = {"i2": (1, 2), "f4": (2, 6), "i4": (7, 3), "u2": (10, 4), "u4": (23, 5)}
    data_type, code = types[data.dtype.str[1:]]
    dimensions = [{"Origin": -first / step, "Scale": step, "Units": units} for first, step, units in axes[::-1]]
    image = {
        "ImageData": {
            "Calibrations": {"Brightness": {"Origin": 0.0, "Scale": 1.0, "Units": "e-"}, "Dimension": dimensions},
            "Data": (code, data),
            "DataType": data_type,
            "Dimensions": list(data.shape[::-1]),
            "PixelDepth": data.dtype.itemsize,
        },
        "ImageTags": {"Meta Data": {"Signal": kind[0], "Format": kind[1]}, "Microscope Info": {"Voltage": voltage}},
        "Name": "made",
    }
    version = int(path.suffix[-1])
    body = _dm_group({"ImageList": [image]}, version)
    path.write_bytes(
        struct.pack(">i", version) + _dm_length(len(body), version) + struct.pack(">i", 1) + body + bytes(8)
    )


def _dm_length(number: int, version: int) -> bytes:
    return struct.pack(">q" if version == 4 else ">i", number)


def _dm_group(tree: dict | list, version: int) -> bytes:
    """A group of tags; those of a list have no names."""
    items = list(tree.items()) if isinstance(tree, dict) else [("", each) for each in tree]
    body = b"\x01\x00" + _dm_length(len(items), version)
    for name, value in items:
        is_group = isinstance(value, dict | list)
        content = _dm_group(value, version) if is_group else _dm_value(value, version)
        body += struct.pack(">BH", 20 if is_group else 21, len(name)) + name.encode()
        body += (_dm_length(len(content), version) if version == 4 else b"") + content
    return body


def _dm_value(value: object, version: int) -> bytes:
    """A value behind numbers that tell its type: 5 and 7 are an integer and a real number, 20 an
    array, of which 4 has characters.
    """
    told: tuple[int, ...]
    if isinstance(value, tuple):
        told, content = (20, value[0], value[1].size), value[1].astype(value[1].dtype.newbyteorder("<")).tobytes()
    elif isinstance(value, str):
        told, content = (20, 4, len(value)), value.encode("utf-16-le")
    else:
        told, content = (
            ((7,), struct.pack("<d", value)) if isinstance(value, float) else ((5,), struct.pack("<I", value))
        )
    return b"%%%%" + b"".join(_dm_length(n, version) for n in (len(told), *told)) + content
